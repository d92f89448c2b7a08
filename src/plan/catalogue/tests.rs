//! Tests of the catalogue: every entry is complete, used and right.
//!
//! In: `src/plan/catalogue/names.json`, names with the eps that their networks were built with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::recognise::recognise_paths;
use super::*;
use crate::network::EpsSource;
use crate::network::dialect::DIALECTS;

#[derive(Deserialize)]
struct Facts {
    source: String,
    /// By library and eps: names, several to a string.
    names: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By architecture and eps: some of the norms.
    mixed: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By model type of transformers: norms, several to a string, by the eps that they have whatever a field of config.json
    /// says; those of `field` have the field's.
    fields: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By architecture: the two eps that it can have.
    unless: BTreeMap<String, (f64, f64)>,
}

fn facts() -> Facts {
    serde_json::from_str(include_str!("names.json")).unwrap()
}

/// Model type, norm and eps (`None`: the field's) of every norm that was built with a field of config.json.
fn fields() -> Vec<(String, String, Option<f64>)> {
    let mut all = Vec::new();
    for (model_type, by_eps) in facts().fields {
        for (eps, lines) in by_eps {
            let norms = lines.iter().flat_map(|line| line.split(' '));
            all.extend(norms.map(|norm| (format!("transformers/{model_type}"), norm.to_owned(), eps.parse().ok())));
        }
    }
    assert!(all.len() > 200, "the facts are all there");
    all
}

/// Library, name and eps of every architecture with one eps.
fn names() -> Vec<(String, String, f64)> {
    let mut all = Vec::new();
    for (library, by_eps) in facts().names {
        for (eps, lines) in by_eps {
            let names = lines.iter().flat_map(|line| line.split(' '));
            all.extend(names.map(|name| (library.clone(), name.to_owned(), eps.parse().unwrap())));
        }
    }
    assert!(all.len() > 1000 && facts().source.contains("1.0.31"), "the facts are all there");
    all
}

fn known(name: &str) -> Known {
    Catalogue::built_in().look_up(name).unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

fn eps(name: &str, norm: &str) -> f64 {
    known(name).entry(&norm.replace('.', "/")).eps
}

/// The other eps that the entry's names can stand for.
fn unless(entry: &Entry) -> Option<f64> {
    match entry.source {
        EpsSource::AssumedUnless { other, .. } => Some(other),
        _ => None,
    }
}

#[test]
fn entries_are_complete() {
    let catalogue = Catalogue::built_in();
    let (mut names, mut families) = (BTreeSet::new(), BTreeSet::new());
    for library in &catalogue.libraries {
        assert!(library.source.len() > 10, "{library:?}");
        let spelled = [&library.name].into_iter().chain(&library.also);
        for name in spelled {
            assert!(names.insert(name) && *name == name.to_lowercase().replace('-', "_"), "{name}");
        }
    }
    for Family { of_library: library, names, eps, parts, unless, source, why } in &catalogue.families {
        assert!(catalogue.libraries.iter().any(|known| known.name == *library), "{library}");
        assert!(!names.is_empty() && parts.iter().all(|part| !part.norms.is_empty()), "{names:?}");
        // A part with the family's own eps says that a configuration's field is not for it: only transformers has such.
        assert!(library == "transformers" || parts.iter().all(|part| part.eps != *eps), "{names:?}");
        assert!(unless.iter().all(|other| other.eps != *eps), "{names:?}");
        assert!(unless.iter().all(|other| !other.when.is_empty()), "{names:?}");
        assert!(source.contains(|c: char| c.is_ascii_digit()) && why.len() > 10, "{names:?}: which version, and why?");
    }
    for rule in &catalogue.rules {
        assert!(catalogue.libraries.iter().any(|known| known.name == rule.of_library), "{rule:?}");
        assert!(!rule.names.is_empty() && rule.pairs.is_empty() != rule.keep.is_empty(), "{rule:?}");
        assert!(rule.source.contains(|c: char| c.is_ascii_digit()) && rule.why.len() > 10, "{rule:?}");
    }
    for pattern in &catalogue.patterns {
        let says = pattern.eps.is_some() || !pattern.pairs.is_empty();
        assert!(families.insert(&pattern.family) && pattern.modules.len() > 1 && says, "{pattern:?}");
        assert_eq!(
            pattern.eps.is_some(),
            !pattern.norms.is_empty(),
            "{pattern:?}: an eps without norms, or norms without"
        );
        assert!(pattern.modules.iter().all(|module| !module.contains(|c: char| c.is_ascii_digit())), "{pattern:?}");
        assert!(DIALECTS.iter().any(|dialect| dialect.name == pattern.dialect), "{pattern:?}");
        assert!(pattern.source.len() > 10 && pattern.why.len() > 10, "{pattern:?}");
    }
}

#[test]
fn every_listed_architecture_has_its_eps() {
    for (library, name, expected) in names() {
        let entry = known(&format!("{library}/{name}")).entry("any/norm");
        assert_eq!((entry.eps, unless(&entry)), (expected, None), "{library}/{name}: {}", entry.source);
    }
    for (name, by_eps) in facts().mixed {
        for (expected, norms) in by_eps {
            let expected = expected.parse::<f64>().unwrap();
            for norm in norms {
                assert_eq!(eps(&name, &norm), expected, "{name}: {norm}");
                assert_eq!(eps(&name, &format!("module.{norm}")), expected, "{name}: {norm} below a prefix");
            }
        }
    }
    for (name, (assumed, other)) in facts().unless {
        let entry = known(&name).entry("any/norm");
        assert_eq!((entry.eps, unless(&entry)), (assumed, Some(other)), "{name}");
    }
}

#[test]
fn a_configurations_field_speaks_for_the_norms_that_are_built_with_it() {
    for (name, norm, expected) in fields() {
        for norm in [norm.clone(), format!("model.{norm}")] {
            let entry = known(&name).entry(&norm.replace('.', "/"));
            let fixed = entry.fixed.then_some(entry.eps);
            assert_eq!(fixed, expected, "{name}: {norm}: {}", entry.source);
        }
    }
}

#[test]
fn every_entry_is_used() {
    let Facts { mut mixed, unless, .. } = facts();
    for (name, norm, eps) in fields() {
        let by_eps = mixed.entry(name).or_default();
        by_eps.entry(eps.map_or_else(String::new, |eps| eps.to_string())).or_default().push(norm);
    }
    let plain = names().into_iter().map(|(library, name, _)| format!("{library}/{name}"));
    let all = plain.chain(mixed.keys().cloned()).chain(unless.into_keys()).map(|name| known(&name)).collect::<Vec<_>>();
    let defaults = all.iter().filter(|known| known.family.is_none()).map(|known| &known.of_library.name);
    let defaults = defaults.collect::<BTreeSet<_>>();
    let globs = all.iter().filter_map(|known| known.family.map(|(_, glob)| (&known.of_library.name, glob)));
    let globs = globs.collect::<BTreeSet<_>>();
    for library in Catalogue::built_in().libraries.iter().filter(|library| library.eps.is_some()) {
        // All names of efficientnet_pytorch are its family's, so that they are known without the library, too.
        assert!(
            defaults.contains(&library.name) || library.name == "efficientnet_pytorch",
            "{library:?} is never used"
        );
    }
    for family in &Catalogue::built_in().families {
        for glob in &family.names {
            let glob = glob.text();
            assert!(
                globs.contains(&(&family.of_library, glob)),
                "{} {glob}: never used, or shadowed",
                family.of_library
            );
        }
        for (part, glob) in family.parts.iter().flat_map(|part| part.norms.iter().map(move |glob| (part, glob))) {
            let of_family = |name: &str| known(name).family.is_some_and(|(found, _)| std::ptr::eq(found, family));
            let by_eps = mixed.iter().filter(|(name, _)| of_family(name)).flat_map(|(_, by_eps)| by_eps);
            let mut norms = by_eps.filter(|(eps, _)| eps.parse() == Ok(part.eps)).flat_map(|(_, norms)| norms);
            let used = norms.any(|norm| glob.below.is_match(&norm.replace('.', "/")));
            assert!(used, "{} {}: no norm of {} is listed", family.of_library, glob.text, part.eps);
        }
    }
}

#[test]
fn a_name_without_library_is_right_or_refused() {
    let (mut refused, mut right) = (0, 0);
    let all = names();
    for (_, name, _) in &all {
        let Ok(known) = Catalogue::built_in().look_up(name) else {
            refused += 1;
            continue;
        };
        for (library, _, expected) in all.iter().filter(|(_, other, _)| other == name) {
            assert_eq!(known.entry("any/norm").eps, *expected, "{name} is {library}'s, too");
        }
        right += 1;
    }
    assert!(right > 1200 && refused > 5, "{right} right, {refused} refused");
    let problem = |name: &str| Catalogue::built_in().look_up(name).unwrap_err().to_string();
    assert!(problem("efficientnet_b5").contains("write timm/efficientnet_b5 or torchvision/efficientnet_b5"));
    assert!(problem("mobilenet_v2").contains("means another thing in another library"));
    assert!(problem("resnet5O").contains("is timm/resnet50 meant?"), "a letter for a digit");
    assert!(problem("what_i_trained_last").contains("write LIBRARY/what_i_trained_last"));
    assert!(problem("keras/Foo").contains("no architecture `Foo` of keras"));
    assert!(problem("nobody/resnet50").contains("no library `nobody` (it has timm, "));
    ["", "/", "timm/", "/resnet50"].iter().for_each(|name| assert!(!problem(name).is_empty()));
}

#[test]
fn encoders_of_smp_are_timms() {
    for (library, name, expected) in names() {
        if library == "timm" {
            let smp = format!("smp/Unet__tu-{name}");
            assert_eq!(eps(&smp, "encoder.model.any.norm"), expected, "{smp}");
            assert_eq!(eps(&smp, "decoder.blocks.0.conv1.1"), 1e-5, "{smp}");
        }
    }
    assert_eq!(eps("segmentation-models-pytorch/Unet__dpn68", "encoder.features.conv1_1.bn"), 1e-3, "another spelling");
}

/// Families with module paths of their networks, and norms with the eps that the family gives them.
type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [(&'a str, Option<f64>)]);
const E3: Option<f64> = Some(1e-3);

#[rustfmt::skip]
const CASES: &[Case<'static>] = &[
    ("EfficientNet of efficientnet_pytorch", "pytorch", &["encoder._conv_stem", "encoder._bn0", "encoder._blocks.0._depthwise_conv", "encoder._blocks.0._bn1", "decoder.blocks.0.conv1.1"],
        &[("encoder._bn0", E3), ("encoder._blocks.0._bn1", E3), ("decoder.blocks.0.conv1.1", None)]),
    ("EfficientNet of transformers", "pytorch", &["vision_model.embeddings.batchnorm", "vision_model.encoder.blocks.0.depthwise_conv.depthwise_norm"],
        &[("vision_model.encoder.top_bn", E3), ("head.bn", None)]),
    ("MobileNetV1 of transformers", "pytorch", &["mobilenet_v1.conv_stem.convolution", "mobilenet_v1.conv_stem.normalization", "mobilenet_v1.layer.0.convolution", "mobilenet_v1.layer.0.normalization"],
        &[("mobilenet_v1.layer.25.normalization", E3)]),
    ("MobileNetV2 of transformers", "pytorch", &["mobilenet_v2.conv_stem.first_conv.normalization", "mobilenet_v2.layer.0.reduce_1x1.normalization"],
        &[("mobilenet_v2.layer.0.conv_3x3.normalization", E3), ("mobilenet_v2.conv_1x1.normalization", E3), ("segmentation_head.conv_pool.normalization", None)]),
    ("Inception v3", "pytorch", &["Conv2d_1a_3x3.bn", "Mixed_5b.branch1x1.bn", "Mixed_6a.branch3x3.bn"],
        &[("Conv2d_4a_3x3.bn", E3), ("Mixed_7c.branch3x3dbl_3b.bn", E3), ("AuxLogits.conv0.bn", E3)]),
    ("Inception-ResNet", "pytorch", &["conv2d_1a.bn", "repeat_1.0.branch0.bn"], &[("last_bn", E3), ("repeat_1.9.branch1.1.bn", E3)]),
    ("Inception v4", "pytorch", &["features.0.bn", "features.5.branch1.0.bn", "features.19.branch1_1a.bn"], &[("features.19.branch3_0.bn", E3), ("features.0.bn", E3)]),
    ("GoogLeNet of torchvision", "pytorch", &["conv1.bn", "inception3a.branch1.bn", "inception3a.branch2.0.bn"], &[("inception5b.branch4.1.bn", E3)]),
    ("DPN", "pytorch", &["features.conv2_1.c1x1_a.bn", "features.conv2_1.c3x3_b.bn"], &[("features.conv5_bn_ac.bn", E3)]),
    ("NASNet, PNASNet", "pytorch", &["cell_0.comb_iter_0_left.bn_sep_1", "cell_0.comb_iter_1_right.bn_sep_1"], &[("cell_stem_0.conv_1x1.bn", E3), ("conv0.bn", E3)]),
    ("MobileNetV3 of torchvision", "pytorch", &["features.4.block.2.fc1", "features.4.block.0.1", "classifier.0"], &[("features.16.1", E3)]),
    ("YOLO with a distribution focal loss head", "pytorch", &["model.0.bn", "model.22.cv2.0.0.bn", "model.22.dfl.conv"], &[("model.2.m.0.cv1.bn", E3)]),
    ("YOLO with a one-to-one head", "pytorch", &["model.0.bn", "model.23.one2one_cv2.0.0.bn"], &[("model.0.bn", E3)]),
    ("RT-DETR of ultralytics", "pytorch", &["model.28.dec_bbox_head.0.layers.0", "model.28.input_proj.0.1"], &[("model.28.input_proj.0.1", E3)]),
    ("YOLO with anchors (YOLOv5, YOLOv7, YOLOP)", "pytorch", &["model.0.conv", "model.0.bn", "model.2.m.0.cv1.bn", "model.24.m.0"],
        &[("model.0.bn", E3), ("model.2.m.0.cv1.bn", E3), ("model.104.rbr_dense.1", E3), ("head.bn", None)]),
    ("YOLOX", "pytorch", &["backbone.backbone.stem.conv.bn", "backbone.lateral_conv0.bn", "backbone.C3_p4.conv1.bn", "head.stems.0.bn"],
        &[("backbone.backbone.dark5.1.conv2.bn", E3), ("head.cls_convs.0.1.bn", E3), ("head.cls_convs.0.0.dconv.bn", E3), ("reid.bn", None)]),
    ("YOLOX with Darknet-53", "pytorch", &["backbone.backbone.stem.0.bn", "backbone.out1_cbl.bn", "backbone.out1.0.bn", "head.stems.0.bn"],
        &[("backbone.backbone.stem.2.layer1.bn", E3), ("head.reg_convs.2.1.bn", E3)]),
    ("Darknet of PyTorch-YOLOv3", "pytorch", &["module_list.0.conv_0", "module_list.0.batch_norm_0"], &[("module_list.104.batch_norm_104", Some(1e-5)), ("module_list.0.bn", None)]),
    ("EfficientDet of effdet", "pytorch", &["model.fpn.cell.0.fnode.0.after_combine.conv.bn", "model.class_net.bn_rep.0.0.bn", "model.box_net.bn_rep.0.0.bn"],
        &[("model.fpn.resample.3.conv.bn", E3), ("model.class_net.bn_rep.2.4.bn", E3), ("model.box_net.bn_rep.2.4.bn", E3), ("model.backbone.bn1", None)]),
    ("EfficientNet of MONAI", "pytorch", &["encoder._conv_stem", "encoder._blocks.0.0._depthwise_conv", "encoder._blocks.0.0._bn1"],
        &[("encoder._bn0", E3), ("encoder._blocks.6.0._bn2", E3), ("decoder.blocks.0.convs.0.adn.N", None)]),
    ("Jasper block of NeMo", "pytorch", &["encoder.encoder.1.mconv.0.conv", "encoder.encoder.1.mconv.1.conv", "encoder.encoder.1.mconv.2"],
        &[("encoder.encoder.1.mconv.12", E3), ("encoder.encoder.15.res.0.1", E3), ("encoder.layers.0.conv.batch_norm", None)]),
    ("I3D of pytorch-i3d", "pytorch", &["Conv3d_1a_7x7.conv3d", "Conv3d_1a_7x7.bn", "Mixed_3b.b0.bn", "Mixed_3b.b1a.bn", "Mixed_3b.b1b.bn"],
        &[("Conv3d_2c_3x3.bn", E3), ("Mixed_5c.b3b.bn", E3), ("Mixed_3b.b0.bn", E3), ("head.bn", None)]),
    ("I3D of kinetics_i3d_pytorch", "pytorch", &["conv3d_1a_7x7.conv3d", "conv3d_1a_7x7.batch3d", "mixed_3b.branch_0.batch3d", "mixed_3b.branch_1.0.batch3d"],
        &[("conv3d_2c_3x3.batch3d", E3), ("mixed_5c.branch_0.batch3d", E3), ("mixed_5c.branch_3.1.batch3d", E3), ("head.batch3d", None)]),
    ("OpenPCDet", "pytorch", &["backbone_2d.blocks.0.1", "backbone_2d.blocks.0.2", "backbone_2d.deblocks.0.0", "backbone_2d.deblocks.0.1"],
        &[("backbone_2d.blocks.2.17", E3), ("backbone_3d.conv_input.1", E3), ("backbone_3d.conv4.2.1", E3), ("backbone_3d.conv1.0.bn1", E3), ("vfe.pfn_layers.0.norm", E3),
          ("backbone_3d.SA_modules.0.mlps.0.1", None), ("dense_head.shared_conv.1", None), ("roi_head.shared_fc_layer.1", None)]),
    ("scvi-tools", "pytorch", &["z_encoder.encoder.fc_layers.Layer 0.0", "z_encoder.encoder.fc_layers.Layer 0.1", "z_encoder.mean_encoder"],
        &[("z_encoder.encoder.fc_layers.Layer 0.1", E3), ("decoder.px_decoder.fc_layers.Layer 1.1", E3), ("classifier.classifier.0.fc_layers.Layer 0.1", E3), ("decoder.norm", None)]),
    ("PhaseNet of SeisBench", "pytorch", &["inc", "in_bn", "down_branch.0.0", "down_branch.0.1", "up_branch.0.0"],
        &[("in_bn", E3), ("down_branch.3.3", E3), ("up_branch.0.1", E3), ("bnd1", None)]),
    ("EQTransformer of SeisBench", "pytorch", &["res_cnn_stack.members.0.norm1", "bi_lstm_stack.members.0.conv", "bi_lstm_stack.members.0.norm"],
        &[("res_cnn_stack.members.6.norm2", E3), ("bi_lstm_stack.members.2.norm", E3), ("encoder.norm", None)]),
    ("CREPE of torchcrepe", "pytorch", &["conv1", "conv1_BN", "classifier"], &[("conv6_BN", Some(0.0010000000474974513))]),
    ("ResNet and DenseNet of Keras", "keras", &["resnet50/conv2_block1_1_conv", "resnet50/conv2_block1_1_bn"],
        &[("resnet50/conv1_bn", Some(1.001e-5)), ("resnet50/conv2_block1_0_bn", Some(1.001e-5)), ("batch_normalization", None)]),
    ("MobileNet of Keras", "keras", &["conv_dw_1_bn", "conv_pw_1_bn"], &[("conv1_bn", E3), ("conv_pw_13_bn", E3)]),
    ("MobileNetV2 of Keras", "keras", &["bn_Conv1", "expanded_conv_depthwise_BN", "block_1_depthwise_BN"], &[("block_16_project_BN", E3), ("Conv_1_bn", E3)]),
    ("MobileNetV3 of Keras", "keras", &["conv_bn", "expanded_conv_depthwise_bn", "expanded_conv_1_depthwise_bn"], &[("expanded_conv_10_project_bn", E3), ("conv_1_bn", E3)]),
    ("EfficientNet of Keras", "keras", &["stem_bn", "block1a_project_bn", "block2a_expand_bn", "top_bn"], &[("block2a_bn", E3), ("block7a_project_bn", E3)]),
    ("ResNet50 of older Keras", "keras", &["bn2a_branch2a", "res2a_branch2a", "bn2b_branch2c", "res2b_branch2c"], &[("bn2a_branch2a", None)]),
    ("Conformer's convolution module", "pytorch", &["layers.0.conv.pointwise_conv1", "layers.0.conv.depthwise_conv", "layers.0.conv.batch_norm"], &[("layers.0.conv.batch_norm", None)]),
    ("Conformer's convolution module, of ESPnet", "pytorch", &["encoders.0.conv_module.pointwise_conv1", "encoders.0.conv_module.depthwise_conv", "encoders.0.conv_module.norm"], &[("encoders.0.conv_module.norm", None)]),
    ("Xception of Keras", "keras", &["block1_conv1_bn", "block2_sepconv1_bn"], &[("block14_sepconv2_bn", E3), ("batch_normalization_3", None)]),
];

#[test]
fn families_are_recognised_by_their_names_and_by_nothing_less() {
    let recognised = |modules: &[&str]| recognise_paths(Catalogue::built_in(), modules.iter().copied());
    for pattern in &Catalogue::built_in().patterns {
        assert!(CASES.iter().any(|(family, ..)| *family == pattern.family), "{}: no case", pattern.family);
    }
    for (family, dialect, modules, norms) in CASES {
        let found = recognised(modules);
        assert_eq!(found.len(), 1, "{family}: {found:?}");
        for (norm, expected) in *norms {
            let entry = found[0].entry(norm, dialect);
            assert_eq!(entry.as_ref().map(|entry| entry.eps), *expected, "{family}: {norm}");
            assert!(entry.is_none_or(|entry| entry.source.to_string().contains(family)), "{family}");
            assert_eq!(found[0].entry(norm, "burn"), None, "{family}: another dialect's default may be another");
        }
    }
    let others: &[&[&str]] = &[
        // YOLO classifiers have 1e-5, or, made from a detector, 1e-3.
        &["model.0.bn", "model.2.m.0.cv1.bn", "model.9.conv.bn", "model.9.linear"],
        &["model.0.conv", "model.0.bn", "model.2.m.0.cv1.conv", "model.2.m.0.cv1.bn", "model.9.linear"],
        // YOLOX: the neck and the head alone, of other detectors, which leave PyTorch's default; mmdetection's names.
        &["fpn.lateral_conv0.bn", "fpn.C3_p4.conv1.bn", "yolox_head.stems.0.bn", "yolox_head.cls_convs.0.0.bn"],
        &["backbone.stem.conv.bn", "neck.reduce_layers.0.bn", "bbox_head.multi_level_cls_convs.0.0.bn"],
        &["backbone.backbone.stem.0.bn", "backbone.out1.0.bn", "head.stems.0.bn"],
        // CSPNeXt has 1e-3 by default and 1e-5 in RTMDet.
        &[
            "backbone.stem.0.bn",
            "backbone.stage1.1.main_conv.bn",
            "backbone.stage1.1.blocks.0.conv2.depthwise_conv.bn",
            "bbox_head.cls_convs.0.0.bn",
        ],
        // Darknet in ultralytics/yolov3: 1e-5 or 1e-4, depending on when.
        &["module_list.0.Conv2d", "module_list.0.BatchNorm2d"],
        &["module_list.0.conv_0", "module_list.0.bn"],
        // BiFPNs of others, and heads without one.
        &["bifpn.0.conv6_up.bn", "class_net.bn_rep.0.0.bn", "box_net.bn_rep.0.0.bn"],
        // What NeMo makes with `conv_mask: false`, and TDNN: nothing tells its layers from others.
        &["encoder.encoder.1.mconv.0", "encoder.encoder.1.mconv.1"],
        &["encoder.encoder.1.conv.conv", "encoder.encoder.1.conv.1"],
        // Inception v3 with layers of three dimensions, and I3D without its branches.
        &["Conv3d_1a_7x7.conv", "Conv3d_1a_7x7.bn", "Mixed_3b.b1a.bn", "Mixed_3b.b1b.bn"],
        &["conv3d_1a_7x7.conv3d", "conv3d_1a_7x7.bn", "mixed_3b.branch_0.bn", "mixed_3b.branch_1.0.bn"],
        // SECOND in mmdetection3d: a configuration has its eps.
        &["backbone.blocks.0.0", "backbone.blocks.0.1", "neck.deblocks.0.0", "neck.deblocks.0.1"],
        &["encoder.fc_layers.Layer 0.0", "encoder.fc_layers.Layer 0.1", "mean_encoder"],
        // PhaseNetLight keeps 1e-5.
        &["inc", "in_bn", "conv1.conv", "bnd1", "up1", "bnu1", "out"],
        &["res_cnn_stack.members.0.conv1", "bi_lstm_stack.members.0.conv", "norm"],
        // torchvision: EfficientNet b0 has 1e-5, b5 has 1e-3; detectors freeze their MobileNetV3 at 1e-5.
        &["features.0.1", "features.1.0.block.0.1", "features.1.0.block.1.fc1", "classifier.1"],
        &["backbone.body.4.block.2.fc1", "backbone.body.4.block.0.1", "roi_heads.box_head.fc6"],
        // timm: tf_efficientnet_b0 has 1e-3, efficientnet_b0 1e-5.
        &["conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0.bn1", "blocks.1.0.conv_pwl", "conv_head", "bn2"],
        // The parts of a family under different prefixes.
        &["a._conv_stem", "b._blocks.0._depthwise_conv", "c._blocks.0._bn1"],
        &["x_conv_stem", "x_blocks.0._depthwise_conv", "x_blocks.0._bn1"],
        &["a._conv_stem", "b._blocks.0.0._depthwise_conv", "b._blocks.0.0._bn1"],
    ];
    for modules in others {
        let found = recognised(modules);
        assert!(found.is_empty(), "{modules:?}: {found:?}");
    }
}

#[test]
fn what_is_built_in_is_what_people_wrote_to_the_last_bit() {
    let written = include_str!("catalogue.toml").parse::<toml::Table>().unwrap();
    let built_in = include_str!(concat!(env!("OUT_DIR"), "/catalogue.json"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(built_in).unwrap(), serde_json::to_value(written).unwrap());
}
