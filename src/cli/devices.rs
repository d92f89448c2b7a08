//! `bnfold-gpu devices`: graphics adapters, their limits, and which one `--device` picks.

use super::arguments::DevicesArguments;
use super::values::Format;
use super::{Status, console};

#[cfg(feature = "gpu")]
pub(crate) fn run(arguments: &DevicesArguments) -> anyhow::Result<Status> {
    use bnfold_gpu::fold::gpu::{AdapterSummary, Adapters, Wanted};
    use bnfold_gpu::job::rates;
    use bnfold_gpu::text::bytes;

    #[derive(serde::Serialize)]
    struct Devices {
        adapters: Vec<AdapterSummary>,
        /// The number of the adapter that may be picked, if it was measured; `null` for the CPU.
        auto: Option<usize>,
        /// The adapter's number; `null` if `--device gpu` fails.
        gpu: Option<usize>,
    }
    let found = Adapters::find();
    let (known, best) = (rates::known(), found.pick(&Wanted::Hardware).ok());
    let auto = best.as_ref().filter(|best| known.iter().any(|rates| rates.is_of(best))).map(|best| best.number);
    let gpu = found.pick(&Wanted::Any).ok().map(|adapter| adapter.number);
    let adapters = found.summaries();
    if arguments.format == Format::Json {
        console::json(&Devices { adapters, auto, gpu }, true)?;
        return Ok(Status::Done);
    }
    let mut text = String::new();
    for adapter in &adapters {
        let AdapterSummary { number, name, kind, backend, driver, .. } = adapter;
        let (buffer, binding) = (bytes(adapter.max_buffer_bytes), bytes(adapter.max_binding_bytes));
        let unusable = if adapter.usable { "" } else { "; cannot be used: lacks compute shaders or what they need" };
        text += &format!("gpu:{number}  {name} ({kind}, {backend}, driver {driver})\n");
        text += &format!(
            "       buffers up to {buffer}, bindings up to {binding}, {} workgroups a dimension{unusable}\n",
            adapter.max_workgroups
        );
    }
    text += &match (auto, best) {
        (Some(number), _) => {
            format!("--device auto picks gpu:{number} where it is no slower than the CPU, as measured\n")
        }
        (None, Some(best)) => {
            format!("--device auto picks the CPU until `bnfold-gpu bench` has measured gpu:{}\n", best.number)
        }
        (None, None) => "--device auto picks the CPU (no hardware GPU)\n".to_owned(),
    };
    let gpu = gpu.map_or("nothing and fails (no adapter)".to_owned(), |number| format!("gpu:{number}"));
    text += &format!("--device gpu picks {gpu}\n");
    console::lines(&text)?;
    Ok(Status::Done)
}

#[cfg(not(feature = "gpu"))]
pub(crate) fn run(arguments: &DevicesArguments) -> anyhow::Result<Status> {
    match arguments.format {
        Format::Json => console::data("{\n  \"adapters\": [],\n  \"auto\": null,\n  \"gpu\": null\n}\n")?,
        Format::Human => console::data("this program was built without GPU support; --device auto picks the CPU\n")?,
    }
    Ok(Status::Done)
}
