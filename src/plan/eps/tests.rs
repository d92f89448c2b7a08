//! Tests of who states the eps of a norm.
//!
//! In: names of norms and a `config.json`. Out: for which norms its field speaks, and for which the model's code does.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::checkpoint::{Dtype, Metadata, Tensor};

/// Every norm's eps with this `config.json`, and the code of who says so.
fn eps<'n>(norms: &[&'n str], config: Value) -> BTreeMap<&'n str, (f64, &'static str)> {
    let tensors = norms.iter().flat_map(|norm| {
        ["weight", "bias", "running_mean", "running_var"]
            .map(|tensor| format!("{norm}.{tensor}"))
            .map(|name| (name, Tensor { dtype: Dtype::parse("F32"), shape: vec![8], shard: 0, offset: 0, bytes: 0 }))
    });
    let inventory = Inventory::new(&tensors.collect(), &[&Metadata::new()]);
    assert_eq!(inventory.norms.len(), norms.len());
    let settings = EpsSettings { config: Some(config), ..EpsSettings::default() };
    let lookup = EpsLookup::new(&settings, &inventory).unwrap();
    let eps = |norm: &Norm| {
        let SourcedEps { value, source } = lookup.eps(norm);
        (*norms.iter().find(|name| **name == norm.name).unwrap(), (value, source.code()))
    };
    inventory.norms.iter().map(eps).collect()
}

#[test]
fn a_field_speaks_for_no_norm_whose_eps_is_in_the_code() {
    let norms = [
        "model.backbone.model.embedder.embedder.0.normalization",
        "model.encoder_input_proj.0.1",
        "model.encoder.lateral_convs.0.norm",
        "model.decoder_input_proj.0.1",
    ];
    let (code, field) = ((1e-5, "catalogue"), (0.05, "config"));
    // As transformers writes it: the backbone has a model type of its own.
    let config = json!({
        "model_type": "rt_detr",
        "batch_norm_eps": 0.05,
        "backbone_config": {"model_type": "rt_detr_resnet", "depths": [3, 4, 6, 3]},
    });
    let found = eps(&norms, config);
    assert_eq!(norms.map(|norm| found[norm]), [code, code, field, field]);
    // A model that the catalogue says nothing of: the field is for all.
    let found = eps(&norms, json!({"model_type": "textnet", "batch_norm_eps": 0.05}));
    assert_eq!(norms.map(|norm| found[norm]), [field; 4]);
    // A backbone with another eps: nothing says which norms are its, and the field is all that is known.
    let backbone = json!({"model_type": "timm_backbone", "backbone": "tf_efficientnet_b0"});
    let found = eps(&norms, json!({"model_type": "rt_detr", "batch_norm_eps": 0.05, "backbone_config": backbone}));
    assert_eq!(norms.map(|norm| found[norm]), [field; 4]);
}

#[test]
fn a_field_of_the_backbone_is_not_for_the_heads() {
    let norms = ["backbone.textnet.stem.batch_norm", "decode_head.bottleneck.batch_norm"];
    let backbone = json!({"model_type": "textnet", "batch_norm_eps": 0.05});
    let found = eps(&norms, json!({"model_type": "upernet", "backbone_config": backbone}));
    assert_eq!(norms.map(|norm| found[norm]), [(0.05, "config"), (1e-5, "catalogue")]);
    let norms = ["model.backbone.model.textnet.stem.batch_norm"];
    let found = eps(&norms, json!({"model_type": "detr", "backbone_config": backbone}));
    assert_eq!(found[norms[0]], (1e-5, "catalogue"), "frozen: built anew, without the field");
}
