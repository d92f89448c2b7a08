//! 2 PLAN: the eps of every norm, and where it comes from.
//!
//! In: what the user said, the `config.json` beside the checkpoint, the norm's dialect. Out: an eps and its source. A
//! checkpoint does not store eps, and a wrong one moves a channel's scale by up to ten times, so an eps that nobody
//! stated is reported as assumed, with the largest change of scale that the other common value would make.

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use super::{Action, Fold, Norm, Plan};
use crate::checkpoint::Checkpoint;
use crate::error::{Result, counted, shown};

/// What the user and the checkpoint's surroundings say about eps.
#[derive(Debug, Default, Clone)]
pub struct EpsSettings {
    /// `--eps-for GLOB=VALUE`, in the order given; the first glob that matches wins.
    pub for_norms: Vec<(Glob, f64)>,
    /// `--eps`.
    pub all: Option<f64>,
    /// Content of the `config.json` beside the checkpoint.
    pub config: Option<Value>,
}

/// Fields of a transformers `config.json` that give a batch norm's eps, with the model types where the name says
/// otherwise. Sources: transformers 5.23.0, `configuration_*.py` and the `nn.BatchNorm2d(..., eps=config.X)` that read
/// them.
const CONFIG_FIELDS: &[(&str, &[&str])] = &[
    ("batch_norm_eps", &[]),
    // MobileNetV1/V2 pass their `layer_norm_eps` to nn.BatchNorm2d.
    ("layer_norm_eps", &["mobilenet_v1", "mobilenet_v2"]),
    // PatchTST and PatchTSMixer pass their `norm_eps` to nn.BatchNorm1d.
    ("norm_eps", &["patchtst", "patchtsmixer"]),
];

/// Looks the eps of norms up, in the order: `--eps-for`, `--eps`, `config.json`, the dialect's default.
pub(super) struct EpsLookup {
    for_norms: Vec<(GlobMatcher, f64)>,
    all: Option<f64>,
    config: Option<(f64, String)>,
}

/// An eps and who says so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourcedEps {
    pub(super) value: f64,
    pub(super) source: String,
    /// Nobody stated it.
    pub(super) assumed: bool,
}

impl EpsLookup {
    pub(super) fn new(settings: &EpsSettings) -> EpsLookup {
        let matchers = settings.for_norms.iter().map(|(glob, eps)| (glob.compile_matcher(), *eps)).collect();
        EpsLookup { for_norms: matchers, all: settings.all, config: settings.config.as_ref().and_then(from_config) }
    }

    pub(super) fn eps(&self, norm: &Norm) -> SourcedEps {
        let stated = |value, source: String| SourcedEps { value, source, assumed: false };
        if let Some((glob, eps)) = self.for_norms.iter().find(|(glob, _)| glob.is_match(&norm.name)) {
            return stated(*eps, format!("--eps-for {}", glob.glob()));
        }
        if let Some(eps) = self.all {
            return stated(eps, "--eps".to_owned());
        }
        if let Some((eps, source)) = &self.config {
            return stated(*eps, source.clone());
        }
        let source = format!("{ASSUMED}: the default of {}", norm.dialect.name);
        SourcedEps { value: norm.dialect.eps, source, assumed: true }
    }
}

/// The eps that a transformers `config.json` states.
fn from_config(config: &Value) -> Option<(f64, String)> {
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or("");
    CONFIG_FIELDS
        .iter()
        .filter(|(_, model_types)| model_types.is_empty() || model_types.contains(&model_type))
        .find_map(|(field, _)| Some((config.get(field)?.as_f64().filter(is_eps)?, format!("config.json: {field}"))))
}

/// Whether a number can be an eps.
pub(crate) fn is_eps(value: &f64) -> bool {
    value.is_finite() && *value >= 0.0
}

/// An assumed eps and how much is at stake.
#[derive(Debug, Clone, PartialEq)]
pub struct EpsWarning {
    /// How many norms use it.
    pub norms: usize,
    /// The value assumed.
    pub assumed: f64,
    /// The other common value.
    pub other: f64,
    /// The largest factor between a channel's scales under the two.
    pub factor: f64,
    /// The norm where that is.
    pub norm: String,
}

/// Prefix of the source of an eps that nobody stated.
const ASSUMED: &str = "assumed";

/// For every eps that is only assumed: how much the scales would change under the other common value.
pub(super) fn at_stake(plan: &Plan, folds: &[Fold], checkpoint: &Checkpoint) -> Result<Vec<EpsWarning>> {
    let assumed = plan.layers.iter().filter_map(|layer| match &layer.action {
        Action::Fold(line) if line.eps_source.starts_with(ASSUMED) => Some(layer.norm.as_str()),
        _ => None,
    });
    let assumed = assumed.collect::<std::collections::HashSet<_>>();
    let mut warnings: Vec<EpsWarning> = Vec::new();
    for fold in folds.iter().filter(|fold| assumed.contains(fold.norm.name.as_str())) {
        let (eps, other) = (fold.eps, other_common(fold.eps));
        let var = checkpoint.read_f64(&fold.norm.var)?.unwrap_or_default();
        // Scales are compared by their squares' ratio; a variance that is no number is another stage's error.
        let ratios = var.iter().filter(|var| **var >= 0.0).map(|var| ((var + other) / (var + eps)).sqrt());
        let factor = ratios.map(|ratio| ratio.max(1.0 / ratio)).fold(1.0, f64::max);
        match warnings.iter_mut().find(|warning| warning.assumed == eps) {
            None => warnings.push(EpsWarning { norms: 1, assumed: eps, other, factor, norm: fold.norm.name.clone() }),
            Some(warning) => {
                warning.norms += 1;
                if factor > warning.factor {
                    (warning.factor, warning.norm) = (factor, fold.norm.name.clone());
                }
            }
        }
    }
    Ok(warnings)
}

impl std::fmt::Display for EpsWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EpsWarning { norms, assumed, other, factor, norm } = self;
        write!(
            f,
            "eps {assumed:e} is assumed for {} (a checkpoint does not store it); with {other:e} a channel's \
             scale would change by up to x{factor:.3} (norm `{}`); state it with --eps or --eps-for",
            counted(*norms, "norm"),
            shown(norm)
        )
    }
}

/// The other value that an assumed eps may really have.
fn other_common(assumed: f64) -> f64 {
    match assumed < 1e-4 {
        true => 1e-3,
        false => 1e-5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn config_fields_count_only_for_their_model_types() {
        let eps = |config: Value| from_config(&config).map(|(eps, _)| eps);
        assert_eq!(eps(json!({"model_type": "efficientnet", "batch_norm_eps": 0.001})), Some(0.001));
        assert_eq!(eps(json!({"model_type": "mobilenet_v2", "layer_norm_eps": 0.001})), Some(0.001));
        assert_eq!(eps(json!({"model_type": "vit", "layer_norm_eps": 1e-12})), None);
        assert_eq!(eps(json!({"model_type": "efficientnet", "batch_norm_eps": "0.001"})), None);
        assert_eq!(eps(json!({"batch_norm_eps": -1.0})), None);
        assert_eq!(eps(json!({"batch_norm_eps": 0.0})), Some(0.0), "0 is a real eps");
    }
}
