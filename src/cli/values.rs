//! What the options of the command line take as their values, and what is wrong with a value that they do not take.

use bnfold_gpu::bench::Shape;
use bnfold_gpu::checkpoint::Float;
use bnfold_gpu::fold::Style;
use bnfold_gpu::plan::EvidenceLevel;
use bnfold_gpu::store::Location;
use bnfold_gpu::zoo::Filter;
use clap::ValueEnum;
use clap::builder::{PathBufValueParser, TypedValueParser};
use globset::Glob;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Human,
    /// JSON
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StyleArgument {
    /// Norm tensors removed, biases added: what a norm-free network loads
    Strip,
    /// Every tensor stays: what unmodified model code loads
    DropIn,
}

impl From<StyleArgument> for Style {
    fn from(style: StyleArgument) -> Style {
        match style {
            StyleArgument::Strip => Style::Strip,
            StyleArgument::DropIn => Style::DropIn,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArgument {
    /// Every tensor keeps its type
    Keep,
    /// All floats become f32
    F32,
    /// All floats become f16
    F16,
    /// All floats become bf16
    Bf16,
}

impl DtypeArgument {
    pub(crate) fn float(self) -> Option<Float> {
        match self {
            DtypeArgument::Keep => None,
            DtypeArgument::F32 => Some(Float::F32),
            DtypeArgument::F16 => Some(Float::F16),
            DtypeArgument::Bf16 => Some(Float::Bf16),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShapeArgument {
    /// Long rows; 232 MB as f32
    Resnet152,
    /// Depthwise convolutions; 9 MB as f32
    Mobilenet,
    /// Grouped convolutions; 421 MB as f32
    Regnet,
}

impl From<ShapeArgument> for Shape {
    fn from(shape: ShapeArgument) -> Shape {
        match shape {
            ShapeArgument::Resnet152 => Shape::Resnet152,
            ShapeArgument::Mobilenet => Shape::Mobilenet,
            ShapeArgument::Regnet => Shape::Regnet,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchDtypeArgument {
    F32,
    F16,
    Bf16,
}

impl From<BenchDtypeArgument> for Float {
    fn from(dtype: BenchDtypeArgument) -> Float {
        match dtype {
            BenchDtypeArgument::F32 => Float::F32,
            BenchDtypeArgument::F16 => Float::F16,
            BenchDtypeArgument::Bf16 => Float::Bf16,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvidenceArgument {
    /// Running statistics, and a sample of the weights
    Auto,
    /// Every value
    Full,
    /// Names and shapes only
    None,
}

impl From<EvidenceArgument> for EvidenceLevel {
    fn from(evidence: EvidenceArgument) -> EvidenceLevel {
        match evidence {
            EvidenceArgument::Auto => EvidenceLevel::Auto,
            EvidenceArgument::Full => EvidenceLevel::Full,
            EvidenceArgument::None => EvidenceLevel::None,
        }
    }
}

/// A path or a URL: from here on a type says which.
pub(super) fn location() -> impl TypedValueParser<Value = Location> {
    PathBufValueParser::new().map(Location::from)
}

pub(super) fn eps(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().map_err(|_| "expected a number such as 1e-5".to_owned())?;
    match value.is_finite() && value >= 0.0 {
        true => Ok(value),
        false => Err("expected a finite number of at least 0".to_owned()),
    }
}

pub(super) fn eps_for(text: &str) -> Result<(Glob, f64), String> {
    let (glob, value) = text.rsplit_once('=').ok_or("expected GLOB=VALUE, for example 'backbone.*=1e-3'")?;
    if glob.is_empty() {
        return Err("expected the name of a norm, or a glob, before `=`; for all norms there is --eps".to_owned());
    }
    Ok((Glob::new(glob).map_err(|error| error.to_string())?, eps(value)?))
}

pub(super) fn arch_for(text: &str) -> Result<(Glob, String), String> {
    let (glob, name) = text.rsplit_once('=').filter(|(_, name)| !name.is_empty()).unwrap_or_default();
    if glob.is_empty() {
        return Err("expected GLOB=LIBRARY/NAME, for example 'effnet*=timm/tf_efficientnet_b0'".to_owned());
    }
    Ok((Filter::pattern(glob)?, name.to_owned()))
}

/// With a NaN nothing would be accepted, whatever it is; with a negative number nothing but an error.
pub(super) fn max_ulp(text: &str) -> Result<f64, String> {
    let ulp = text.parse::<f64>().ok().filter(|ulp| ulp.is_finite() && *ulp >= 0.0);
    ulp.ok_or_else(|| "expected a number of units in the last place, 0 or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eps_are_parsed_or_refused() {
        assert_eq!(eps("0"), Ok(0.0));
        assert!(eps("-1e-5").is_err() && eps("nan").is_err() && eps("inf").is_err() && eps("x").is_err());
        let (glob, value) = eps_for("a=b.*=1e-3").unwrap();
        assert_eq!((glob.glob(), value), ("a=b.*", 1e-3));
        let (glob, name) = arch_for("a=b/*=timm/resnet18").unwrap();
        assert_eq!((glob.glob(), name.as_str()), ("a=b/*", "timm/resnet18"));
        assert!(arch_for("timm/resnet18").is_err() && arch_for("=x").is_err() && arch_for("x=").is_err());
        assert!(eps_for("1e-3").is_err() && eps_for("[=1").is_err() && eps_for("=1").is_err());
    }
}
