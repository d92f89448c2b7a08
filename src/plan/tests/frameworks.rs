//! 2 PLAN, tests: how frameworks and libraries name things.

use super::{FLAX, KERAS, Network, torch};
use crate::network::{Axis, Op};

#[test]
fn linear_layers_and_speech() {
    let network = torch(&[
        ("encoder.0.weight", &[32, 16]),
        ("encoder.0.bias", &[32]),
        ("encoder.1", &[32]),
        ("head.linear.weight", &[64, 32]),
        ("head.batch_norm", &[64]),
    ]);
    network.folds(&[("encoder.1", "encoder.0.weight"), ("head.batch_norm", "head.linear.weight")]);
    assert_eq!(network.op("encoder.1"), Some(Op::Linear));
}

#[test]
fn keras_names() {
    let network = Network::new(
        &[
            ("conv1_conv/kernel", &[7, 7, 3, 64]),
            ("conv1_bn", &[64]),
            ("block1a_dwconv/kernel", &[3, 3, 64, 1]),
            ("block1a_bn", &[64]),
            ("block1a_se_expand/kernel", &[1, 1, 16, 64]),
            ("block1a_se_expand/bias", &[64]),
            ("block1a_project_conv/kernel", &[1, 1, 64, 24]),
            ("block1a_project_bn", &[24]),
            ("block2_sepconv1/depthwise_kernel", &[3, 3, 24, 1]),
            ("block2_sepconv1/pointwise_kernel", &[1, 1, 24, 32]),
            ("block2_sepconv1_bn", &[32]),
            ("up/kernel", &[2, 2, 16, 32]),
            ("up_bn", &[16]),
        ],
        KERAS,
    );
    network.folds(&[
        ("conv1_bn", "conv1_conv/kernel"),
        ("block1a_bn", "block1a_dwconv/kernel"),
        ("block1a_project_bn", "block1a_project_conv/kernel"),
        ("block2_sepconv1_bn", "block2_sepconv1/pointwise_kernel"),
    ]);
    assert_eq!(network.op("block1a_bn"), Some(Op::Depthwise));
}

#[test]
fn keras_numbers_count_only_while_they_agree() {
    let mut entries: Vec<(&str, &[u64])> = vec![
        ("conv2d/kernel", &[3, 3, 3, 32]),
        ("batch_normalization", &[32]),
        ("conv2d_1/kernel", &[3, 3, 32, 64]),
        ("batch_normalization_1", &[64]),
        ("conv2d_2/kernel", &[1, 1, 64, 64]),
        ("batch_normalization_2", &[64]),
    ];
    Network::new(&entries, KERAS).folds(&[
        ("batch_normalization", "conv2d/kernel"),
        ("batch_normalization_1", "conv2d_1/kernel"),
        ("batch_normalization_2", "conv2d_2/kernel"),
    ]);
    // One layer without a norm, and who knows since when the counters are apart.
    entries.push(("conv2d_3/kernel", &[1, 1, 64, 64]));
    Network::new(&entries, KERAS).folds(&[("batch_normalization", "conv2d/kernel")]);
    // Drifted: shapes show it.
    entries[3] = ("batch_normalization_1", &[32]);
    Network::new(&entries[..6], KERAS).folds(&[("batch_normalization", "conv2d/kernel")]);
}

#[test]
fn flax_names() {
    Network::new(
        &[
            ("conv_init/kernel", &[7, 7, 3, 64]),
            ("bn_init", &[64]),
            ("ResNetBlock_0/Conv_0/kernel", &[3, 3, 64, 64]),
            ("ResNetBlock_0/BatchNorm_0", &[64]),
            ("ResNetBlock_0/Conv_1/kernel", &[3, 3, 64, 128]),
            ("ResNetBlock_0/BatchNorm_1", &[128]),
            ("ResNetBlock_0/conv_proj/kernel", &[1, 1, 64, 128]),
            ("ResNetBlock_0/norm_proj", &[128]),
        ],
        FLAX,
    )
    .folds(&[
        ("ResNetBlock_0/BatchNorm_0", "ResNetBlock_0/Conv_0/kernel"),
        ("ResNetBlock_0/BatchNorm_1", "ResNetBlock_0/Conv_1/kernel"),
        ("ResNetBlock_0/norm_proj", "ResNetBlock_0/conv_proj/kernel"),
        ("bn_init", "conv_init/kernel"),
    ]);
}

#[test]
fn slim_norms_live_inside_their_layer() {
    Network::new(
        &[
            ("MobilenetV1/Conv2d_0/weights", &[3, 3, 3, 32]),
            ("MobilenetV1/Conv2d_0/BatchNorm", &[32]),
            ("MobilenetV1/Conv2d_1_depthwise/depthwise_weights", &[3, 3, 32, 1]),
            ("MobilenetV1/Conv2d_1_depthwise/BatchNorm", &[32]),
            ("MobilenetV1/Conv2d_1_pointwise/weights", &[1, 1, 32, 64]),
            ("MobilenetV1/Conv2d_1_pointwise/BatchNorm", &[64]),
        ],
        KERAS,
    )
    .folds(&[
        ("MobilenetV1/Conv2d_0/BatchNorm", "MobilenetV1/Conv2d_0/weights"),
        ("MobilenetV1/Conv2d_1_depthwise/BatchNorm", "MobilenetV1/Conv2d_1_depthwise/depthwise_weights"),
        ("MobilenetV1/Conv2d_1_pointwise/BatchNorm", "MobilenetV1/Conv2d_1_pointwise/weights"),
    ]);
}

#[test]
fn detectron_norms_live_inside_their_layer_too() {
    torch(&[
        ("stem.conv1.weight", &[64, 3, 7, 7]),
        ("stem.conv1.norm", &[64]),
        ("res2.0.conv1.weight", &[64, 64, 1, 1]),
        ("res2.0.conv1.norm", &[64]),
        ("res2.0.shortcut.weight", &[256, 64, 1, 1]),
        ("res2.0.shortcut.norm", &[256]),
    ])
    .folds(&[
        ("res2.0.conv1.norm", "res2.0.conv1.weight"),
        ("res2.0.shortcut.norm", "res2.0.shortcut.weight"),
        ("stem.conv1.norm", "stem.conv1.weight"),
    ]);
}

#[test]
fn mlx_stores_outputs_first_in_transposed_convolutions_too() {
    let mut network = torch(&[
        ("conv.0.weight", &[64, 3, 3, 3]),
        ("conv.1", &[64]),
        ("up.0.weight", &[32, 2, 2, 64]),
        ("up.1", &[32]),
        ("up.3.weight", &[32, 2, 2, 32]),
        ("up.4", &[32]),
    ]);
    network.metadata.insert("format".to_owned(), "mlx".to_owned());
    network.folds(&[("conv.1", "conv.0.weight"), ("up.1", "up.0.weight"), ("up.4", "up.3.weight")]);
}

#[test]
fn hugging_face_names() {
    torch(&[
        ("embeddings.convolution.weight", &[32, 3, 3, 3]),
        ("embeddings.batchnorm", &[32]),
        ("blocks.0.expansion.expand_conv.weight", &[96, 32, 1, 1]),
        ("blocks.0.expansion.expand_bn", &[96]),
        ("blocks.0.depthwise_conv.depthwise_conv.weight", &[96, 1, 3, 3]),
        ("blocks.0.depthwise_conv.depthwise_norm", &[96]),
        ("blocks.0.projection.project_conv.weight", &[48, 96, 1, 1]),
        ("blocks.0.projection.project_bn", &[48]),
        ("top_conv.weight", &[128, 48, 1, 1]),
        ("top_bn", &[128]),
    ])
    .folds(&[
        ("blocks.0.depthwise_conv.depthwise_norm", "blocks.0.depthwise_conv.depthwise_conv.weight"),
        ("blocks.0.expansion.expand_bn", "blocks.0.expansion.expand_conv.weight"),
        ("blocks.0.projection.project_bn", "blocks.0.projection.project_conv.weight"),
        ("embeddings.batchnorm", "embeddings.convolution.weight"),
        ("top_bn", "top_conv.weight"),
    ]);
}

#[test]
fn paddle_names_its_statistics_otherwise() {
    let norm = &[".weight", ".bias", "._mean", "._variance"];
    let network = Network::new(
        &[
            ("conv1._conv.weight", &[32, 3, 3, 3]),
            ("conv1._batch_norm", &[32]),
            ("head.0.weight", &[32, 64]),
            ("head.1", &[64]),
        ],
        norm,
    );
    network.folds(&[("conv1._batch_norm", "conv1._conv.weight"), ("head.1", "head.0.weight")]);
    assert_eq!(network.op("head.1"), Some(Op::Linear), "linear weights are [in, out]");
}

/// The names of burn and of MXNet Gluon for a norm.
const BURN: &[&str] = &[".gamma", ".beta", ".running_mean", ".running_var"];

#[test]
fn dense_layers_tell_burn_from_gluon() {
    let file = |head: &[u64], out: u64| {
        let mut network = Network::new(
            &[("conv.0.weight", &[64, 3, 3, 3]), ("conv.1", &[64]), ("dense.0.weight", &[64, 64]), ("dense.1", &[64])],
            BURN,
        );
        network.add("head.weight", head, "F32");
        network.add("head.bias", &[out], "F32");
        network
    };
    let axis = |network: &Network| {
        let inventory = network.inventory();
        let weight = inventory.weights.iter().find(|weight| weight.tensor == "dense.0.weight");
        (inventory.dialect(), weight.and_then(|weight| weight.kind.linear))
    };
    let (burn, gluon, either) = (file(&[64, 10], 10), file(&[10, 64], 10), file(&[10, 10], 10));
    assert_eq!(axis(&burn), (Some("burn"), Some(Axis::Last)));
    assert_eq!(axis(&gluon), (Some("gluon"), Some(Axis::First)));
    assert_eq!(axis(&either), (Some("burn-or-gluon"), None), "nothing tells: dense layers are left alone");
    let all: &[(&str, &str)] = &[("conv.1", "conv.0.weight"), ("dense.1", "dense.0.weight")];
    burn.folds(all);
    gluon.folds(all);
    either.folds(&all[..1]);
}

#[test]
fn mindspore_names_norms_as_keras_and_weights_as_pytorch() {
    let norm = &[".gamma", ".beta", ".moving_mean", ".moving_variance"];
    let network = Network::new(&[("conv1.weight", &[64, 3, 7, 7]), ("bn1", &[64]), ("fc.weight", &[10, 64])], norm);
    network.folds(&[("bn1", "conv1.weight")]);
    assert_eq!(network.inventory().dialect(), Some("mindspore"));
}

#[test]
fn paddle_numbers_its_parameters_or_names_them_after_layers() {
    let mut network = torch(&[]);
    for (name, shape) in [
        ("conv2d_0.w_0", &[32, 3, 3, 3][..]),
        ("batch_norm2d_0.w_0", &[32]),
        ("batch_norm2d_0.b_0", &[32]),
        ("batch_norm2d_0.w_1_deepcopy_3", &[32]),
        ("batch_norm2d_0.w_2_deepcopy_4", &[32]),
    ] {
        network.add(name, shape, "F32");
    }
    network.folds(&[("batch_norm2d_0", "conv2d_0.w_0")]);
    let norm = &["_scale", "_offset", "_mean", "_variance"];
    let named = Network::new(
        &[
            ("conv1_weights", &[16, 3, 3, 3]),
            ("conv1_bn", &[16]),
            ("conv2_depthwise_weights", &[16, 1, 3, 3]),
            ("conv2_depthwise_bn", &[16]),
            ("fc_weights", &[16, 10]),
        ],
        norm,
    );
    named.folds(&[("conv1_bn", "conv1_weights"), ("conv2_depthwise_bn", "conv2_depthwise_weights")]);
}
