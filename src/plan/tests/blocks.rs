//! 2 PLAN, tests: blocks that are told apart by their shapes.

use super::{Network, torch};

#[test]
fn one_widening_block_gives_norm_first_blocks_away() {
    // Pre-activation ResNet: `bn1 -> conv1 -> bn2 -> conv2`. The first block fits the other way round by accident.
    torch(&[
        ("conv1.weight", &[16, 3, 3, 3]),
        ("layers.0.bn1", &[16]),
        ("layers.0.conv1.weight", &[16, 16, 3, 3]),
        ("layers.0.bn2", &[16]),
        ("layers.0.conv2.weight", &[16, 16, 3, 3]),
        ("layers.1.bn1", &[16]),
        ("layers.1.conv1.weight", &[32, 16, 3, 3]),
        ("layers.1.bn2", &[32]),
        ("layers.1.conv2.weight", &[32, 32, 3, 3]),
        ("bn", &[32]),
    ])
    .folds(&[("layers.0.bn2", "layers.0.conv1.weight"), ("layers.1.bn2", "layers.1.conv1.weight")]);
}

#[test]
fn kin_shares_the_blame() {
    // `conv2` is square everywhere, but `conv1` shows that modules of this kind run their norm first.
    torch(&[
        ("stem.weight", &[16, 3, 3, 3]),
        ("unit1.conv1.bn", &[16]),
        ("unit1.conv1.conv.weight", &[32, 16, 1, 1]),
        ("unit1.conv2.bn", &[32]),
        ("unit1.conv2.conv.weight", &[32, 32, 3, 3]),
        ("unit2.conv1.bn", &[32]),
        ("unit2.conv1.conv.weight", &[64, 32, 1, 1]),
        ("unit2.conv2.bn", &[64]),
        ("unit2.conv2.conv.weight", &[64, 64, 3, 3]),
    ])
    .folds(&[("unit1.conv2.bn", "unit1.conv1.conv.weight"), ("unit2.conv2.bn", "unit2.conv1.conv.weight")]);
}

#[test]
fn norm_first_blocks_counted_by_letters() {
    // DPN: `c1x1_a -> c3x3_b -> c1x1_c`, norms first; the grouped `b` fits both ways.
    let block = |n: usize, wide: u64, out: u64| {
        [
            (format!("conv{n}.c1x1_a.bn"), vec![wide]),
            (format!("conv{n}.c1x1_a.conv.weight"), vec![96, wide, 1, 1]),
            (format!("conv{n}.c3x3_b.bn"), vec![96]),
            (format!("conv{n}.c3x3_b.conv.weight"), vec![96, 12, 3, 3]),
            (format!("conv{n}.c1x1_c.bn"), vec![96]),
            (format!("conv{n}.c1x1_c.conv.weight"), vec![out, 96, 1, 1]),
        ]
    };
    let entries = [block(1, 64, 272), block(2, 320, 288)].concat();
    let entries = entries.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect::<Vec<_>>();
    torch(&entries).folds(&[
        ("conv1.c1x1_c.bn", "conv1.c3x3_b.conv.weight"),
        ("conv1.c3x3_b.bn", "conv1.c1x1_a.conv.weight"),
        ("conv2.c1x1_c.bn", "conv2.c3x3_b.conv.weight"),
        ("conv2.c3x3_b.bn", "conv2.c1x1_a.conv.weight"),
    ]);
}

#[test]
fn densenet_norms_are_fed_by_concatenations() {
    torch(&[
        ("features.conv0.weight", &[64, 3, 7, 7]),
        ("features.norm0", &[64]),
        ("features.denseblock1.denselayer1.norm1", &[64]),
        ("features.denseblock1.denselayer1.conv1.weight", &[128, 64, 1, 1]),
        ("features.denseblock1.denselayer1.norm2", &[128]),
        ("features.denseblock1.denselayer1.conv2.weight", &[32, 128, 3, 3]),
        // 64 + 2 * 32: fits `conv1` by accident.
        ("features.denseblock1.denselayer3.norm1", &[128]),
        ("features.denseblock1.denselayer3.conv1.weight", &[128, 128, 1, 1]),
        ("features.denseblock1.denselayer3.norm2", &[128]),
        ("features.denseblock1.denselayer3.conv2.weight", &[32, 128, 3, 3]),
        ("features.transition1.norm", &[160]),
        ("features.transition1.conv.weight", &[80, 160, 1, 1]),
        ("features.norm5", &[80]),
    ])
    .folds(&[
        ("features.denseblock1.denselayer1.norm2", "features.denseblock1.denselayer1.conv1.weight"),
        ("features.denseblock1.denselayer3.norm2", "features.denseblock1.denselayer3.conv1.weight"),
        ("features.norm0", "features.conv0.weight"),
    ]);
}

#[test]
fn squeeze_and_excitation_may_stand_between_norm_first_layers() {
    // RegNetV: norm3 follows the excitation, not conv2. Nothing in the file tells where it stands.
    let se: [(&str, &[u64]); 2] = [("b2.se.fc1.weight", &[8, 32, 1, 1]), ("b2.se.fc2.weight", &[32, 8, 1, 1])];
    let block: [(&str, &[u64]); 8] = [
        ("b1.norm1", &[16]),
        ("b1.conv1.weight", &[32, 16, 1, 1]),
        ("b1.norm2", &[32]),
        ("b1.conv2.weight", &[32, 32, 3, 3]),
        ("b2.norm1", &[32]),
        ("b2.conv1.weight", &[32, 32, 1, 1]),
        ("b2.norm2", &[32]),
        ("b2.conv2.weight", &[32, 32, 3, 3]),
    ];
    torch(&block).folds(&[("b1.norm2", "b1.conv1.weight"), ("b2.norm2", "b2.conv1.weight")]);
    torch(&[&block[..], &se].concat()).folds(&[("b1.norm2", "b1.conv1.weight")]);
}

/// timm's blocks: the same names in both, in another order.
fn mobile(inverted: bool) -> Network {
    let inverted_residual: [(&str, &[u64]); 6] = [
        ("blocks.1.0.conv_pw.weight", &[96, 16, 1, 1]),
        ("blocks.1.0.bn1", &[96]),
        ("blocks.1.0.conv_dw.weight", &[96, 1, 3, 3]),
        ("blocks.1.0.bn2", &[96]),
        ("blocks.1.0.conv_pwl.weight", &[24, 96, 1, 1]),
        ("blocks.1.0.bn3", &[24]),
    ];
    let separable: [(&str, &[u64]); 4] = [
        ("blocks.0.0.conv_dw.weight", &[32, 1, 3, 3]),
        ("blocks.0.0.bn1", &[32]),
        ("blocks.0.0.conv_pw.weight", &[16, 32, 1, 1]),
        ("blocks.0.0.bn2", &[16]),
    ];
    if inverted { torch(&inverted_residual) } else { torch(&separable) }
}

#[test]
fn the_flow_of_channels_orders_numbered_norms() {
    mobile(true).folds(&[
        ("blocks.1.0.bn1", "blocks.1.0.conv_pw.weight"),
        ("blocks.1.0.bn2", "blocks.1.0.conv_dw.weight"),
        ("blocks.1.0.bn3", "blocks.1.0.conv_pwl.weight"),
    ]);
    mobile(false)
        .folds(&[("blocks.0.0.bn1", "blocks.0.0.conv_dw.weight"), ("blocks.0.0.bn2", "blocks.0.0.conv_pw.weight")]);
}

#[test]
fn counting_may_begin_at_nought_and_skip_the_squeeze() {
    // efficientnet_pytorch: without expansion there is no `_bn0`; squeeze and excitation have biases, producers have none.
    torch(&[
        ("_blocks.0._depthwise_conv.weight", &[32, 1, 3, 3]),
        ("_blocks.0._bn1", &[32]),
        ("_blocks.0._se_reduce.weight", &[8, 32, 1, 1]),
        ("_blocks.0._se_reduce.bias", &[8]),
        ("_blocks.0._se_expand.weight", &[32, 8, 1, 1]),
        ("_blocks.0._se_expand.bias", &[32]),
        ("_blocks.0._project_conv.weight", &[16, 32, 1, 1]),
        ("_blocks.0._bn2", &[16]),
        ("_blocks.1._expand_conv.weight", &[96, 16, 1, 1]),
        ("_blocks.1._bn0", &[96]),
        ("_blocks.1._depthwise_conv.weight", &[96, 1, 3, 3]),
        ("_blocks.1._bn1", &[96]),
        ("_blocks.1._project_conv.weight", &[24, 96, 1, 1]),
        ("_blocks.1._bn2", &[24]),
    ])
    .folds(&[
        ("_blocks.0._bn1", "_blocks.0._depthwise_conv.weight"),
        ("_blocks.0._bn2", "_blocks.0._project_conv.weight"),
        ("_blocks.1._bn0", "_blocks.1._expand_conv.weight"),
        ("_blocks.1._bn1", "_blocks.1._depthwise_conv.weight"),
        ("_blocks.1._bn2", "_blocks.1._project_conv.weight"),
    ]);
}

#[test]
fn rows_are_counted_alike() {
    torch(&[
        ("cell.separable_1.depthwise_conv2d.weight", &[44, 1, 5, 5]),
        ("cell.separable_1.pointwise_conv2d.weight", &[88, 44, 1, 1]),
        ("cell.bn_sep_1", &[88]),
        ("cell.separable_2.depthwise_conv2d.weight", &[88, 1, 5, 5]),
        ("cell.separable_2.pointwise_conv2d.weight", &[42, 88, 1, 1]),
        ("cell.bn_sep_2", &[42]),
    ])
    .folds(&[
        ("cell.bn_sep_1", "cell.separable_1.pointwise_conv2d.weight"),
        ("cell.bn_sep_2", "cell.separable_2.pointwise_conv2d.weight"),
    ]);
}

#[test]
fn lists_are_twins() {
    torch(&[
        ("stem.conv.weight", &[13, 3, 3, 3]),
        ("stem.bn", &[13]),
        ("layer1.0.convs.0.weight", &[26, 13, 3, 3]),
        ("layer1.0.convs.1.weight", &[26, 13, 3, 3]),
        ("layer1.0.bns.0", &[26]),
        ("layer1.0.bns.1", &[26]),
    ])
    .folds(&[
        ("layer1.0.bns.0", "layer1.0.convs.0.weight"),
        ("layer1.0.bns.1", "layer1.0.convs.1.weight"),
        ("stem.bn", "stem.conv.weight"),
    ]);
}

#[test]
fn the_end_of_a_sequence_is_its_last_layer() {
    torch(&[
        ("conv1.0.weight", &[32, 3, 3, 3]),
        ("conv1.1", &[32]),
        ("conv1.3.weight", &[64, 32, 3, 3]),
        ("bn1", &[64]),
    ])
    .folds(&[("conv1.1", "conv1.0.weight"), ("bn1", "conv1.3.weight")]);
}

#[test]
fn a_numbered_norm_before_its_layers() {
    // `norm1 -> reduce -> expand`: expand fits the norm, but the norm may as well open the block.
    torch(&[
        ("blocks.0.norm1", &[64]),
        ("blocks.0.reduce.weight", &[16, 64, 1, 1]),
        ("blocks.0.expand.weight", &[64, 16, 1, 1]),
    ])
    .folds(&[]);
    torch(&[("conv_stem.weight", &[32, 3, 3, 3]), ("bn1", &[32]), ("conv_head.weight", &[1280, 320, 1, 1])])
        .folds(&[("bn1", "conv_stem.weight")]);
}

#[test]
fn a_square_separable_block_runs_its_depthwise_layer_first() {
    torch(&[
        ("blocks.0.0.conv_dw.weight", &[16, 1, 3, 3]),
        ("blocks.0.0.bn1", &[16]),
        ("blocks.0.0.conv_pw.weight", &[16, 16, 1, 1]),
        ("blocks.0.0.bn2", &[16]),
    ])
    .folds(&[("blocks.0.0.bn1", "blocks.0.0.conv_dw.weight"), ("blocks.0.0.bn2", "blocks.0.0.conv_pw.weight")]);
}
