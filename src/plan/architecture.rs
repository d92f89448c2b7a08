//! 2 PLAN: which architecture a checkpoint holds, and what its `config.json` says about eps.
//!
//! In: `--arch`, the `config.json` beside the checkpoint, and what its norms are called. Out: an entry of the catalogue, an
//! eps that the configuration states itself, warnings about what does not agree; or what is wrong with the architecture
//! that was stated.

use std::path::Path;

use serde_json::Value;

use super::catalogue::{ArchitectureProblem, Catalogue, Known};
use super::eps::is_eps;
use crate::error::Error;
use crate::network::{EpsSource, Inventory};
use crate::text::shown;
use crate::warning::Warning;

/// Fields of a transformers `config.json` that give a batch norm's eps, with the model types where the name says
/// otherwise. Sources: transformers 5.23.0, `configuration_*.py` and the `nn.BatchNorm2d(..., eps=config.X)` that read
/// them.
const EPS_FIELDS: &[(&str, &[&str])] = &[
    ("batch_norm_eps", &[]),
    // MobileNetV1/V2 pass their `layer_norm_eps` to nn.BatchNorm2d.
    ("layer_norm_eps", &["mobilenet_v1", "mobilenet_v2"]),
    // PatchTST and PatchTSMixer pass their `norm_eps` to nn.BatchNorm1d.
    ("norm_eps", &["patchtst", "patchtsmixer"]),
];

/// An architecture that was stated and cannot be followed.
#[derive(Debug)]
pub(super) struct Misstated {
    name: String,
    problem: ArchitectureProblem,
}

impl Misstated {
    /// The error for the checkpoint at `path`.
    pub(super) fn of(self, path: &Path) -> Error {
        Error::Architecture { path: Some(path.to_owned()), name: self.name, problem: self.problem }
    }
}

/// Checks that the catalogue knows an architecture that is stated for whatever checkpoint.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let known = stated(name).map(drop);
    known.map_err(|problem| Error::Architecture { path: None, name: name.to_owned(), problem })
}

/// What the catalogue knows under a name that the user states: one entry a library that has it.
fn stated(name: &str) -> Result<Vec<Known>, ArchitectureProblem> {
    let known = Catalogue::built_in().look_up_all(name)?;
    match known.iter().find(|known| known.unheard_of) {
        Some(unheard_of) => Err(unheard_of.misspelt()),
        None => Ok(known),
    }
}

/// Finds the architecture; what the user says goes before what the configuration says, and must fit the checkpoint. The
/// warnings are about what does not agree.
pub(super) fn find(
    arch: Option<&str>,
    config: Option<&Value>,
    inventory: &Inventory,
) -> Result<(Option<Known>, Vec<Warning>), Misstated> {
    let configured = config.and_then(of_config);
    let Some(arch) = arch else { return Ok((configured, Vec::new())) };
    // A bare name says nothing about the library, and the configuration may.
    if configured.as_ref().is_some_and(|known| known.name.split_once('/').is_some_and(|(_, name)| name == arch)) {
        return Ok((configured, Vec::new()));
    }
    let fitting = stated(arch).and_then(|all| fitting(all, inventory));
    let known = fitting.map_err(|problem| Misstated { name: arch.to_owned(), problem })?;
    let mut warnings = Vec::new();
    if let Some(other) = configured.filter(|other| other.name != known.name) {
        let config_eps = config.and_then(stated_eps).map(|(eps, _)| eps);
        let (stated, configured) = (known.name.clone(), other.name);
        warnings.push(Warning::ArchitectureDisputed { stated, configured, config_eps });
    }
    Ok((Some(known), warnings))
}

/// The first of `all` that the names of the checkpoint's norms do not contradict; what contradicts the first, if all are.
fn fitting(all: Vec<Known>, inventory: &Inventory) -> Result<Known, ArchitectureProblem> {
    let mut problem = None;
    for known in all {
        match known.contradicted_by(inventory) {
            None => return Ok(known),
            found => problem = problem.or(found),
        }
    }
    Err(problem.unwrap_or(ArchitectureProblem::Nobodys { name: String::new(), nearest: None }))
}

/// The architecture that a `config.json` names. One whose parts are of architectures with different eps is not known:
/// nothing says which norms belong to which part.
fn of_config(config: &Value) -> Option<Known> {
    let catalogue = Catalogue::built_in();
    let known = catalogue.look_up(&name_in(config)?).ok()?;
    let mut parts = config.as_object()?.values().filter_map(name_in);
    let agree = |part: String| catalogue.look_up(&part).is_ok_and(|part| part.agrees_with(&known));
    parts.all(agree).then_some(known)
}

/// `LIBRARY/NAME` as one object of a `config.json` gives it.
fn name_in(config: &Value) -> Option<String> {
    let text = |field: &str| config.get(field).and_then(Value::as_str);
    if config.get("auto_map").is_some() {
        return None; // code that comes with the checkpoint: its model types are its own
    }
    match text("model_type") {
        // transformers' shells around timm.
        Some("timm_wrapper") => Some(format!("timm/{}", text("architecture")?)),
        Some("timm_backbone") => Some(format!("timm/{}", text("backbone")?)),
        Some(model_type) => Some(format!("transformers/{model_type}")),
        None => match (text("architecture"), text("_model_class"), text("encoder_name")) {
            (Some(architecture), _, _) => Some(format!("timm/{architecture}")),
            // segmentation_models_pytorch, base/hub_mixin.py
            (None, Some(model), Some(encoder)) => Some(format!("smp/{model}__{encoder}")),
            _ => None,
        },
    }
}

/// The eps that a transformers `config.json` states, for the whole model or for one part of it.
pub(super) fn stated_eps(config: &Value) -> Option<(f64, EpsSource)> {
    let own = eps_field(config).map(|(eps, field)| (eps, EpsSource::Config { field: field.to_owned() }));
    own.or_else(|| {
        let parts = config.as_object()?.iter();
        let mut stated = parts.filter_map(|(part, value)| Some((eps_field(value)?, part)));
        let ((eps, field), part) = stated.next()?;
        stated
            .all(|((other, _), _)| other == eps)
            .then(|| (eps, EpsSource::Config { field: format!("{}.{field}", shown(part)) }))
    })
}

fn eps_field(config: &Value) -> Option<(f64, &'static str)> {
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or("");
    EPS_FIELDS
        .iter()
        .filter(|(_, model_types)| model_types.is_empty() || model_types.contains(&model_type))
        .find_map(|(field, _)| Some((config.get(field)?.as_f64().filter(is_eps)?, *field)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn config_fields_count_only_for_their_model_types() {
        let eps = |config: Value| stated_eps(&config).map(|(eps, _)| eps);
        assert_eq!(eps(json!({"model_type": "efficientnet", "batch_norm_eps": 0.001})), Some(0.001));
        assert_eq!(eps(json!({"model_type": "mobilenet_v2", "layer_norm_eps": 0.001})), Some(0.001));
        assert_eq!(eps(json!({"model_type": "vit", "layer_norm_eps": 1e-12})), None);
        assert_eq!(eps(json!({"model_type": "efficientnet", "batch_norm_eps": "0.001"})), None);
        assert_eq!(eps(json!({"batch_norm_eps": -1.0})), None);
        assert_eq!(eps(json!({"batch_norm_eps": 0.0})), Some(0.0), "0 is a real eps");
        assert_eq!(eps(json!(["batch_norm_eps"])), None, "not an object");
    }

    #[test]
    fn parts_of_a_config_may_state_eps_if_they_agree() {
        let config = json!({"model_type": "align", "vision_config": {"batch_norm_eps": 0.01}, "text_config": {}});
        assert_eq!(
            stated_eps(&config),
            Some((0.01, EpsSource::Config { field: "vision_config.batch_norm_eps".to_owned() }))
        );
        let config = json!({"a": {"batch_norm_eps": 0.01}, "b": {"batch_norm_eps": 0.1}});
        assert_eq!(stated_eps(&config), None);
    }

    #[test]
    fn config_json_names_the_architecture() {
        let name = |config: Value| of_config(&config).map(|known| known.name);
        let is = |config: Value, expected: &str| assert_eq!(name(config).as_deref(), Some(expected));
        is(json!({"architecture": "tf_efficientnet_b0", "num_classes": 1000}), "timm/tf_efficientnet_b0");
        let twice = json!({"architecture": "efficientvit_l1", "pretrained_cfg": {"architecture": "efficientvit_l1"}});
        is(twice, "timm/efficientvit_l1");
        is(json!({"model_type": "timm_wrapper", "architecture": "resnet18"}), "timm/resnet18");
        is(json!({"model_type": "timm_backbone", "backbone": "resnet18"}), "timm/resnet18");
        is(json!({"model_type": "resnet", "architectures": ["ResNetModel"]}), "transformers/resnet");
        is(json!({"_model_class": "Unet", "encoder_name": "efficientnet-b0"}), "smp/Unet__efficientnet-b0");
        let align = json!({"model_type": "align", "vision_config": {"model_type": "align_vision_model"}});
        is(align, "transformers/align");
        assert_eq!(name(json!({"model_type": "resnet", "auto_map": {}})), None, "code of its own");
        let mixed = json!({"model_type": "x", "vision": {"model_type": "timm_wrapper", "architecture": "dpn68"}});
        assert_eq!(name(mixed), None, "1e-5 around 1e-3");
        assert_eq!(name(json!({"architecture": 7})), None);
        assert_eq!(name(json!([])), None);
    }

    #[test]
    fn the_user_goes_before_the_configuration() {
        let config = json!({"architecture": "efficientnet_b5"});
        let find = |arch| {
            let (known, warnings) = find(arch, Some(&config), &Inventory::default()).unwrap();
            let warnings = warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
            (known.map(|known| known.name).unwrap_or_default(), warnings.join("\n"))
        };
        assert_eq!(find(None), ("timm/efficientnet_b5".to_owned(), String::new()));
        assert_eq!(find(Some("timm/efficientnet_b5")), ("timm/efficientnet_b5".to_owned(), String::new()));
        assert_eq!(find(Some("efficientnet_b5")), ("timm/efficientnet_b5".to_owned(), String::new()), "a bare name");
        let (name, warning) = find(Some("torchvision/efficientnet_b5"));
        assert_eq!(name, "torchvision/efficientnet_b5");
        assert!(warning.contains("config.json says timm/efficientnet_b5"), "{warning}");
    }
}
