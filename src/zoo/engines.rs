//! ZOO: the engines of a run, shared by all its models.
//!
//! In: how engines are opened. Out: an [`Engine`] on loan, for as long as a model's weights take. Devices are opened once,
//! when the first model needs them, and each is lent to [`LOANS`] models at a time; a GPU that failed is not lent again, and
//! when none is left the CPU does the rest.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::fold::Engine;

/// Models that a device has at a time: while the last batches of one come back, the first of the next are on their way.
const LOANS: usize = 2;

/// Opens the devices of a run; an empty vector stands for the CPU path.
type Open<'a> = dyn Fn() -> Result<Vec<Engine>> + Send + Sync + 'a;

/// The engines of a run.
pub struct Engines<'a> {
    open: Box<Open<'a>>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    opened: bool,
    idle: Vec<Engine>,
    lent: usize,
}

impl<'a> Engines<'a> {
    /// Engines that `open` opens at the first need.
    pub fn new(open: impl Fn() -> Result<Vec<Engine>> + Send + Sync + 'a) -> Engines<'a> {
        Engines { open: Box::new(open), state: Mutex::default(), returned: Condvar::new() }
    }

    /// An engine; waits for one if all loans are out. Without devices it is the CPU path, of which there is always another.
    pub fn lend(&self) -> Result<Lent<'_, 'a>> {
        let mut state = self.state();
        if !state.opened {
            let devices =
                (self.open)()?.into_iter().filter(|engine| !matches!(engine, Engine::Cpu)).collect::<Vec<_>>();
            // Every device once, then every device again: a second model gets the second one.
            state.idle = std::iter::repeat_n(devices, LOANS).flatten().collect();
            state.opened = true;
        }
        loop {
            state.idle.retain(Engine::is_usable);
            if let Some(engine) = state.idle.pop() {
                state.lent += 1;
                return Ok(Lent { engine, engines: self, is_device: true });
            }
            if state.lent == 0 {
                return Ok(Lent { engine: Engine::Cpu, engines: self, is_device: false });
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine on loan.
pub struct Lent<'e, 'a> {
    engine: Engine,
    engines: &'e Engines<'a>,
    is_device: bool,
}

impl Deref for Lent<'_, '_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Lent<'_, '_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Drop for Lent<'_, '_> {
    fn drop(&mut self) {
        if !self.is_device {
            return;
        }
        let engine = std::mem::take(&mut self.engine);
        let mut state = self.engines.state();
        state.lent -= 1;
        // A device that failed has become the CPU path.
        if !matches!(engine, Engine::Cpu) {
            state.idle.push(engine);
        }
        drop(state);
        self.engines.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn devices_are_opened_once_and_the_cpu_is_always_there() {
        let opened = AtomicUsize::new(0);
        let engines = Engines::new(|| {
            opened.fetch_add(1, Ordering::Relaxed);
            Ok(Vec::new())
        });
        assert_eq!(opened.load(Ordering::Relaxed), 0, "nothing is opened before it is needed");
        let (a, b) = (engines.lend().unwrap(), engines.lend().unwrap());
        assert_eq!((a.device(), b.device()), ("cpu", "cpu"));
        drop((a, b));
        engines.lend().unwrap();
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }
}
