//! The options as a chain of methods.
//!
//! In: [`Options`], or what holds them. Out: the same with one of them set. One list: a method that is added is there for
//! one model, for many, and for options by themselves.

use super::Options;

/// Defines the builder methods of [`Options`], and a macro that gives them to a type with a field `options`.
macro_rules! builder_methods {
    ($dollar:tt $($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*), $options:ident => $set:expr;)*) => {
        impl Options {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, $($argument: $type),*) -> Options {
                    let mut $options = self;
                    $set;
                    $options
                }
            )*
        }

        macro_rules! forward_options {
            ($dollar target:ty) => {
                impl $dollar target {
                    $(
                        $(#[$doc])*
                        #[must_use]
                        pub fn $name(mut self, $($argument: $type),*) -> Self {
                            self.options = self.options.$name($($argument),*);
                            self
                        }
                    )*
                }
            };
        }
        pub(super) use forward_options;
    };
}

builder_methods! {$
    /// Stores folded norms in this style.
    style(style: crate::fold::Style), options => options.style = Some(style);
    /// Converts every float tensor to this type.
    dtype(dtype: crate::checkpoint::Float), options => options.dtype = Some(dtype);
    /// Computes on this device.
    device(device: crate::Device), options => options.device = device;
    /// States the eps of every norm: a finite number of at least 0; norms stay where it is none.
    eps(eps: f64), options => options.eps = Some(eps);
    /// States the eps of norms whose name matches a glob; may be repeated, the first that matches wins.
    eps_for(names: globset::Glob, eps: f64), options => options.eps_for.push((names, eps));
    /// Names the architecture, as its library calls it: `timm/tf_efficientnet_b0`.
    arch(name: impl Into<String>), options => options.arch = Some(name.into());
    /// Names the architecture of models whose path, file name or folder matches a glob; may be repeated, the first that
    /// matches wins.
    arch_for(models: globset::Glob, name: impl Into<String>), options => options.arch_for.push((models, name.into()));
    /// Says how far values may speak for or against a pair.
    evidence(level: crate::plan::EvidenceLevel), options => options.evidence = level;
    /// Follows this plan, or the plan in this file, instead of planning.
    follow(plan: impl Into<crate::model::PlanSource>), options => options.plan = Some(plan.into());
    /// Fails if a norm would stay, or if an eps that would make a difference is only assumed.
    strict(strict: bool), options => options.denied.strict(strict);
    /// Fails on warnings or remarks of this kind.
    deny(kind: crate::RemarkKind), options => options.denied.deny(kind);
    /// Does not fail on them, also where [`Options::strict`] or the default would.
    allow(kind: crate::RemarkKind), options => options.denied.allow(kind);
    /// Compares every result with the reference, as is the default, or does not.
    verify_results(verify: bool), options => options.verify = verify;
    /// Writes results that are not finite instead of refusing them.
    allow_non_finite(allow: bool), options => options.allow_non_finite = allow;
    /// Gathers the ranges of the weights, for the report.
    ranges(ranges: bool), options => options.ranges = ranges;
    /// Finds out what rounding the weights to 8 bits would cost, for the report, with the ranges that it needs.
    quantization(wanted: bool), options => {
        options.quantization = wanted;
        options.ranges |= wanted;
    };
    /// Replaces an output that exists, or refuses to.
    replace(replace: crate::output::Replace), options => options.replace = replace;
    /// Says in the results' metadata where they come from, as is the default, or does not; without it a run over many models
    /// cannot tell what was done before.
    record(record: bool), options => options.record = record;
    /// Flushes the output to disk before it gets its name, as is the default, or does not.
    sync(sync: bool), options => options.sync = sync;
    /// Uses so many threads, one at least.
    threads(threads: usize), options => options.threads = Some(threads);
    /// Stops once this is set.
    cancelled(flag: std::sync::Arc<std::sync::atomic::AtomicBool>), options => options.cancelled = flag;
}
