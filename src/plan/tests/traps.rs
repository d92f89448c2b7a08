//! 2 PLAN, tests: what must not be folded, although names and shapes fit.

use super::{Network, RESNET, TORCH, torch};
use crate::network::Op;

#[test]
fn a_gap_in_a_sequence_means_that_something_stands_between() {
    // ConvMixer: conv, GELU, norm.
    torch(&[("0.weight", &[64, 3, 7, 7]), ("2", &[64]), ("3.weight", &[64, 64, 1, 1]), ("4", &[64])])
        .folds(&[("4", "3.weight")]);
}

#[test]
fn a_conv_with_two_norms_is_shared() {
    torch(&[("conv.weight", &[16, 3, 3, 3]), ("bns.0", &[16]), ("bns.1", &[16])]).folds(&[]);
    torch(&[("conv1.weight", &[16, 3, 3, 3]), ("bn1", &[16]), ("conv1_bn", &[16])]).folds(&[]);
}

#[test]
fn a_number_behind_a_number_counts_something_else() {
    // Keras' NASNet: `adjust_conv_1_5` and `adjust_conv_2_5` are the two layers in front of `adjust_bn_5`, concatenated.
    torch(&[
        ("adjust_conv_1_5.weight", &[44, 264, 1, 1]),
        ("adjust_conv_2_5.weight", &[44, 264, 1, 1]),
        ("adjust_bn_1", &[44]),
    ])
    .folds(&[]);
    // A kernel's numbers do not count.
    torch(&[
        ("norm1", &[64]),
        ("conv1_1x1.weight", &[64, 16, 1, 1]),
        ("norm2", &[64]),
        ("conv2_kxk.weight", &[64, 1, 3, 3]),
    ])
    .folds(&[("norm1", "conv1_1x1.weight"), ("norm2", "conv2_kxk.weight")]);
}

#[test]
fn a_weight_that_other_blocks_lack_is_shared() {
    torch(&[
        ("unit1.conv1.conv.weight", &[64, 3, 3, 3]),
        ("unit1.conv1.bn", &[64]),
        ("unit1.conv2.conv.weight", &[64, 64, 3, 3]),
        ("unit1.conv2.bn", &[64]),
        ("unit2.conv1.conv.weight", &[64, 64, 3, 3]),
        ("unit2.conv1.bn", &[64]),
        ("unit2.conv2.bn", &[64]),
    ])
    .folds(&[("unit1.conv1.bn", "unit1.conv1.conv.weight"), ("unit2.conv1.bn", "unit2.conv1.conv.weight")]);
}

/// Decoders of LinkNet's kind, here as ENet has them: the middle layer of a unit on the way up is transposed, of one on the
/// way down it is not, and both have one name and one shape.
#[test]
fn a_square_layer_of_a_unit_that_narrows_may_be_transposed() {
    let unit = |from: u64, to: u64| {
        torch(&[
            ("unit.conv1.conv.weight", &[16, from, 1, 1]),
            ("unit.conv1.bn", &[16]),
            ("unit.conv2.conv.weight", &[16, 16, 3, 3]),
            ("unit.conv2.bn", &[16]),
            ("unit.conv3.conv.weight", &[to, 16, 1, 1]),
            ("unit.conv3.bn", &[to]),
        ])
    };
    let all =
        ["unit.conv1", "unit.conv2", "unit.conv3"].map(|conv| (format!("{conv}.bn"), format!("{conv}.conv.weight")));
    let all = all.each_ref().map(|(norm, weight)| (norm.as_str(), weight.as_str()));
    unit(64, 128).folds(&all);
    unit(64, 64).folds(&all);
    unit(128, 64).folds(&[all[0], all[2]]);
    assert!(unit(128, 64).verdicts()["unit.conv2.bn"].1.contains("a transposed one"));
}

/// The pointwise convolutions of a unit say nothing about what stands between them: in the decoders of LinkNet a transposed
/// convolution with a kernel of 4.
#[test]
fn neighbours_of_another_kernel_do_not_tell_what_a_square_layer_is() {
    let unit = |kernel: u64| {
        torch(&[
            ("0.0.0.weight", &[8, 32, 1, 1]),
            ("0.0.1", &[8]),
            ("0.1.0.weight", &[8, 8, kernel, kernel]),
            ("0.1.1", &[8]),
            ("0.2.0.weight", &[32, 8, 1, 1]),
            ("0.2.1", &[32]),
        ])
    };
    let around = [("0.0.1", "0.0.0.weight"), ("0.2.1", "0.2.0.weight")];
    unit(4).folds(&around);
    unit(2).folds(&around);
    unit(3).folds(&[around[0], ("0.1.1", "0.1.0.weight"), around[1]]);
}

#[test]
fn identity_branches_have_no_layer() {
    let network = torch(&[
        ("stages.0.conv_kxk.conv.weight", &[64, 3, 3, 3]),
        ("stages.0.conv_kxk.bn", &[64]),
        ("stages.1.conv_kxk.conv.weight", &[64, 64, 3, 3]),
        ("stages.1.conv_kxk.bn", &[64]),
        ("stages.1.conv_1x1.conv.weight", &[64, 64, 1, 1]),
        ("stages.1.conv_1x1.bn", &[64]),
        ("stages.1.identity", &[64]),
    ]);
    let reason = &network.verdicts()["stages.1.identity"].1;
    assert!(reason.contains("identity branch") && !reason.contains("in a plan"), "{reason}");
    network.folds(&[
        ("stages.0.conv_kxk.bn", "stages.0.conv_kxk.conv.weight"),
        ("stages.1.conv_1x1.bn", "stages.1.conv_1x1.conv.weight"),
        ("stages.1.conv_kxk.bn", "stages.1.conv_kxk.conv.weight"),
    ]);
}

#[test]
fn a_bias_speaks_for_something_between() {
    // CREPE: conv with bias, ReLU, norm.
    torch(&[
        ("conv1.weight", &[32, 1, 16, 1]),
        ("conv1.bias", &[32]),
        ("conv1_BN", &[32]),
        ("conv2.weight", &[16, 32, 16, 1]),
        ("conv2.bias", &[16]),
        ("conv2_BN", &[16]),
    ])
    .folds(&[]);
    // ECAPA-TDNN: the same over time, in modules of their own.
    torch(&[
        ("blocks.0.conv.conv.weight", &[64, 80, 5]),
        ("blocks.0.conv.conv.bias", &[64]),
        ("blocks.0.norm.norm", &[64]),
    ])
    .folds(&[]);
}

#[test]
fn blocks_of_one_width_need_other_evidence() {
    let isotropic: [(&str, &[u64]); 5] = [
        ("stem.weight", &[16, 3, 3, 3]),
        ("blocks.0.bn1", &[16]),
        ("blocks.0.conv1.weight", &[16, 16, 3, 3]),
        ("blocks.0.bn2", &[16]),
        ("blocks.0.conv2.weight", &[16, 16, 3, 3]),
    ];
    // A stem without a norm: the norm opens the first block.
    torch(&isotropic).folds(&[]);
    // A norm behind the last block.
    torch(&[&isotropic[1..], &[("bn", &[16])]].concat()).folds(&[]);
    // A stem with a norm of the same kind.
    let usual: [(&str, &[u64]); 2] = [("conv1.weight", &[16, 3, 3, 3]), ("bn1", &[16])];
    torch(&[&isotropic[1..], &usual].concat()).folds(&[
        ("blocks.0.bn1", "blocks.0.conv1.weight"),
        ("blocks.0.bn2", "blocks.0.conv2.weight"),
        ("bn1", "conv1.weight"),
    ]);
}

#[test]
fn a_lone_norm_may_open_the_block() {
    // `norm -> fc1 -> fc2`: fc2 fits the norm in every block.
    torch(&[("mlp.norm", &[64]), ("mlp.fc1.weight", &[256, 64]), ("mlp.fc2.weight", &[64, 256])]).folds(&[]);
    // Squeeze, norm, excite.
    torch(&[("se.fc1.weight", &[16, 64, 1, 1]), ("se.bn", &[16]), ("se.fc2.weight", &[64, 16, 1, 1])])
        .folds(&[("se.bn", "se.fc1.weight")]);
}

#[test]
fn modules_that_come_before_say_so() {
    torch(&[("blocks.0.pre_norm", &[64]), ("blocks.0.conv.weight", &[64, 3, 1, 1])]).folds(&[]);
    torch(&[
        ("blocks.0.conv2_kxk.weight", &[64, 3, 3, 3]),
        ("blocks.0.se_early.fc1.weight", &[16, 64, 1, 1]),
        ("blocks.0.se_early.fc2.weight", &[64, 16, 1, 1]),
        ("blocks.0.norm2", &[64]),
    ])
    .folds(&[]);
}

#[test]
fn weights_that_are_not_what_is_computed_with() {
    let folds = |change: &dyn Fn(&mut Network)| {
        let mut network = torch(&[("conv.weight", &[64, 3, 3, 3]), ("bn", &[64])]);
        change(&mut network);
        network.verdicts()["bn"].clone()
    };
    assert!(folds(&|_| {}).0.is_some());
    let quantized = folds(&|network| network.add("conv.weight", &[64, 3, 3, 3], "I8"));
    assert!(quantized.0.is_none() && quantized.1.contains("quantized"), "{quantized:?}");
    let aliased = folds(&|network| drop(network.metadata.insert("head.weight".to_owned(), "conv.weight".to_owned())));
    assert!(aliased.0.is_none() && aliased.1.contains("other names"), "{aliased:?}");
    let masked = folds(&|network| network.add("conv.mask", &[64, 3, 3, 3], "F32"));
    assert!(masked.0.is_none() && masked.1.contains("conv.mask"), "{masked:?}");
    let permuted = folds(&|network| network.add("index", &[64], "I64"));
    assert!(permuted.0.is_none() && permuted.1.contains("index"), "{permuted:?}");
    let quantizer = folds(&|network| network.add("conv._weight_quantizer._amax", &[64], "F32"));
    assert!(quantizer.0.is_none() && quantizer.1.contains("_amax"), "{quantizer:?}");
    let counted = folds(&|network| network.add("global_step", &[], "I64"));
    assert!(counted.0.is_some(), "a number is no index of channels: {counted:?}");
    let broken = folds(&|network| network.add("bn.bias", &[63], "F32"));
    assert!(broken.0.is_none() && broken.1.contains("bn.bias"), "{broken:?}");
}

#[test]
fn networks_without_scale_and_shift_may_binarise_their_weights() {
    // With norms behind their layers nothing speaks for it (HardNet, XFeat); with norms first they are centred for it.
    Network::new(&[("conv.weight", &[64, 3, 3, 3]), ("bn", &[64])], &TORCH[2..]).folds(&[("bn", "conv.weight")]);
    let unit: &[(&str, &[u64])] = &[
        ("stem.conv.weight", &[32, 3, 3, 3]),
        ("stem.bn", &[32]),
        ("unit.conv1.bn", &[32]),
        ("unit.conv1.conv.weight", &[64, 32, 3, 3]),
        ("unit.conv2.bn", &[64]),
        ("unit.conv2.conv.weight", &[64, 64, 3, 3]),
    ];
    Network::new(unit, &TORCH[2..]).folds(&[]);
}

#[test]
fn square_weights_are_convolutions_unless_something_hints_at_the_contrary() {
    let op = |name: &str, shape: &[u64], bias: Option<u64>, channels: u64| {
        let mut network = torch(&[("stem.0.weight", &[64, 3, 3, 3]), ("stem.1", &[64])]);
        network.add(&format!("{name}.0.weight"), shape, "F32");
        if let Some(bias) = bias {
            network.add(&format!("{name}.0.bias"), &[bias], "F32");
        }
        for suffix in TORCH {
            network.add(&format!("{name}.1{suffix}"), &[channels], "F32");
        }
        network.op(&format!("{name}.1"))
    };
    assert_eq!(op("block", &[64, 64, 3, 3], None, 64), Some(Op::Conv));
    assert_eq!(op("deconv", &[64, 64, 3, 3], None, 64), Some(Op::ConvTranspose));
    assert_eq!(op("up", &[64, 64, 2, 2], None, 64), None, "square, even kernel: either");
    assert_eq!(op("down", &[64, 64, 2, 2], None, 64), Some(Op::Conv));
    assert_eq!(op("up", &[64, 32, 2, 2], None, 32), Some(Op::ConvTranspose), "shapes decide");
    assert_eq!(op("block", &[64, 32, 3, 3], None, 32), Some(Op::ConvTranspose), "in a sequence, whatever its name");
    assert_eq!(op("block", &[32, 64, 3, 3], None, 32), Some(Op::Conv));
    assert_eq!(op("block", &[64, 32, 3, 3], Some(64), 32), None, "its bias has other channels");
    assert_eq!(op("deconv", &[64, 8, 4, 4], None, 32), Some(Op::ConvTranspose), "grouped, and named so");
    assert_eq!(op("block", &[64, 8, 4, 4], None, 32), None, "grouped: almost any shape could be");
    assert_eq!(op("deconv", &[64, 32, 4, 4], None, 64), None, "two groups, or no transposed one at all");
    assert_eq!(op("deconv", &[64, 1, 4, 4], None, 64), Some(Op::Conv), "depthwise: both maps are the same");
}

#[test]
fn transposed_kernels_make_squares_suspect() {
    torch(&[
        ("decoder.0.weight", &[64, 32, 3, 3]),
        ("decoder.1", &[32]),
        ("decoder.3.weight", &[32, 32, 3, 3]),
        ("decoder.4", &[32]),
        ("encoder.0.weight", &[32, 32, 3, 3]),
        ("encoder.1", &[32]),
    ])
    .folds(&[("decoder.1", "decoder.0.weight"), ("encoder.1", "encoder.0.weight")]);
}

#[test]
fn reasons_are_readable() {
    let mut network = torch(RESNET);
    network.add("layer1.0.conv2.weight", &[32, 64, 3, 3], "F32");
    for (norm, (weight, text)) in network.verdicts() {
        assert!(!text.is_empty() && !text.ends_with('.'), "{norm}: {text}");
        assert!(weight.is_some() || text.contains('`'), "{norm}: {text}");
    }
}

#[test]
fn a_norm_that_stands_in_several_places_stays() {
    let mut network = torch(&[("a.weight", &[64, 3, 3, 3]), ("a_bn", &[64]), ("b.weight", &[64, 64, 3, 3])]);
    network.metadata.insert("b_bn.weight".to_owned(), "a_bn.weight".to_owned());
    let (weight, reason) = &network.verdicts()["a_bn"];
    assert!(weight.is_none() && reason.contains("several places"), "{reason}");
}

#[test]
fn nothing_is_folded_into_or_past_a_norm_that_is_incomplete() {
    let whole = torch(&[("0.weight", &[8, 4, 3, 3]), ("1", &[8]), ("2", &[8])]);
    // Without the norm between them the second one would be the layer's.
    whole.folds(&[("1", "0.weight")]);
    for lost in ["1.running_mean", "1.running_var"] {
        let mut rest = torch(&[("0.weight", &[8, 4, 3, 3]), ("1", &[8]), ("2", &[8])]);
        rest.tensors.remove(lost);
        rest.folds(&[]);
    }
}

#[test]
fn words_are_whole_tokens_and_the_nearest_counts() {
    let op = |name: &str| {
        let mut network = torch(&[("stem.0.weight", &[64, 3, 3, 3]), ("stem.1", &[64])]);
        network.add(&format!("{name}.weight"), &[64, 64, 2, 2], "F32");
        let (scope, place) = name.rsplit_once('.').unwrap();
        let next = place.parse::<u64>().unwrap() + 1;
        for suffix in TORCH {
            network.add(&format!("{scope}.{next}{suffix}"), &[64], "F32");
        }
        network.op(&format!("{scope}.{next}"))
    };
    for either in ["sequence.3", "system.3", "backbone_2d.deblocks.1.0", "backbone.decoder.0"] {
        assert_eq!(op(either), None, "{either}");
    }
    for ordinary in ["decoder.downsample.0", "backbone.fpn1.0", "patch_embed.0"] {
        assert_eq!(op(ordinary), Some(Op::Conv), "{ordinary}");
    }
}

#[test]
fn a_square_layer_is_what_those_of_its_names_are() {
    let network = torch(&[
        ("backbone_2d.deblocks.0.0.weight", &[64, 128, 1, 1]),
        ("backbone_2d.deblocks.0.1", &[128]),
        ("backbone_2d.deblocks.1.0.weight", &[128, 128, 2, 2]),
        ("backbone_2d.deblocks.1.1", &[128]),
        ("backbone_2d.deblocks.2.0.weight", &[256, 128, 4, 4]),
        ("backbone_2d.deblocks.2.1", &[128]),
    ]);
    for unit in 0..3 {
        assert_eq!(network.op(&format!("backbone_2d.deblocks.{unit}.1")), Some(Op::ConvTranspose), "{unit}");
    }
}

#[test]
fn adapters_change_the_weight_that_is_stored() {
    for adapter in ["conv1.lora_A", "conv1.lora_A.default.weight", "conv1.conv.lora_down.weight"] {
        let mut network = torch(&[("conv1.conv.weight", &[48, 24, 3, 3]), ("bn1", &[48])]);
        network.add(adapter, &[12, 24], "F32");
        let (weight, reason) = &network.verdicts()["bn1"];
        assert!(weight.is_none() && reason.contains(adapter), "{adapter}: {reason}");
    }
    let mut network = torch(&[("conv1.base_layer.weight", &[48, 24, 3, 3]), ("bn1", &[48])]);
    network.add("conv1.lora_A.default.weight", &[12, 24, 3, 3], "F32");
    network.folds(&[]);
}

#[test]
fn layers_over_complex_numbers_feed_both_norms() {
    torch(&[
        ("block.conv_re.weight", &[32, 16, 3, 3]),
        ("block.conv_im.weight", &[32, 16, 3, 3]),
        ("block.bn_re", &[32]),
        ("block.bn_im", &[32]),
    ])
    .folds(&[]);
}

#[test]
fn wrappers_of_compiled_modules_are_no_scopes() {
    torch(&[
        ("conv1._orig_mod.weight", &[64, 3, 7, 7]),
        ("bn1._orig_mod", &[64]),
        ("layer._fsdp_wrapped_module.conv2.weight", &[128, 64, 3, 3]),
        ("layer._fsdp_wrapped_module.bn2", &[128]),
    ])
    .folds(&[
        ("bn1._orig_mod", "conv1._orig_mod.weight"),
        ("layer._fsdp_wrapped_module.bn2", "layer._fsdp_wrapped_module.conv2.weight"),
    ]);
}

#[test]
fn averages_that_share_the_statistics_are_noticed() {
    let mut network =
        torch(&[("conv1.weight", &[64, 3, 7, 7]), ("bn1", &[64]), ("conv2.weight", &[32, 64, 3, 3]), ("bn2", &[32])]);
    assert_eq!(network.inventory().sharer, None);
    for (name, shape) in [("conv1.weight", &[64, 3, 7, 7][..]), ("bn1.weight", &[64]), ("bn2.weight", &[32])] {
        network.add(&format!("model_ema.{name}"), shape, "F32");
    }
    assert_eq!(network.inventory().sharer.as_deref(), Some("model_ema"));
}
