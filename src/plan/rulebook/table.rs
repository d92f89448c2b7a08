//! 2 PLAN: the table of rules: of each its code, what it looks at, why it is there, and a network that would be planned otherwise
//! without it.
//!
//! In: nothing. Out: [`RULES`], and [`Rule`], their names.

use super::Row;

macro_rules! rules {
    ($($rule:ident $code:literal $looks_at:literal $why:literal $case:literal;)*) => {
        /// A rule by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::plan) enum Rule {
            $(#[doc = $looks_at] $rule,)*
        }

        /// All rules, in the order in which a plan meets them.
        #[cfg_attr(not(test), expect(dead_code, reason = "for readers and for the test that takes each away"))]
        pub(in crate::plan) const RULES: &[Row] = &[
            $(Row { rule: Rule::$rule, code: $code, looks_at: $looks_at, why: $why, case: $case },)*
        ];
    };
}

rules! {
    // The module tree.
    NormShell "norm-shell"
        "a scope that holds one norm and says no more than it does (`bn1.bn`) is taken for the norm"
        "libraries wrap norms"
        "Norms in wrappers of their own";
    NormOpens "norm-opens"
        "the first module of a Sequential that calls itself a norm (`norm_b.0`) is taken for the whole"
        "gates may stand behind a norm, in one module with it"
        "pytorchvideo, X3D: a norm and a gate in one module";
    LayerShell "layer-shell"
        "a scope that holds one convolution and calls itself one (`conv1.conv`) puts out what that puts out"
        "libraries wrap convolutions to pad them"
        "NVIDIA NeMo, QuartzNet: masked convolutions in a list";
    LastOfSequence "last-of-sequence"
        "the last weight of a Sequential puts out what that puts out, if it alone lacks a norm"
        "stems of three convolutions, whose last norm stands outside"
        "timm/resnet10t";
    SeparableScope "separable-scope"
        "of a depthwise layer and another one in a scope of their own, or with one norm, the one that shapes prove to come last, here or where modules have the same two names"
        "separable convolutions are modules of their own"
        "timm/legacy_xception";
    // Proposals, strongest first.
    Sequence "sequence"
        "`N` follows `N-1` in an nn.Sequential"
        "a gap would mean that something without weights stands between"
        "DARTS: cells of operations";
    OnlyPair "only-pair"
        "the only norm and the only weight of a scope"
        "a module that holds just a layer and its norm"
        "detectron2: norms inside their layers, a list of norms behind a shared layer";
    Twin "twin-names"
        "`bn1` and `conv1`, `expand_bn` and `expand_conv`"
        "norms are named after their layers"
        "Wide ResNet: norms first";
    TwinLists "twin-lists"
        "`bns.0` and `convs.0`"
        "lists of norms are named after lists of layers"
        "DenseNet as torchvision once named it";
    FlatSequence "flat-sequence"
        "`x_3` follows `x_2` as in an `nn.Sequential` whose path is written with underscores"
        "tracers that make code of a network name its modules so"
        "TinyNeuralNetwork: the path of an `nn.Sequential` with underscores";
    CountedFactors "counted-factors"
        "a numbered norm has the two factors of a convolution that are counted like it, of which values choose"
        "`conv3x1_1, conv1x3_1, bn1`: the factors' names say their kernels first"
        "two factors of a convolution, counted like their norm";
    Row "row"
        "a row of norms and a row of layers of one scope that are counted alike"
        "norms and layers of a scope may be named apart and numbered together"
        "PNASNet: separable layers and norms counted apart by name, together by number";
    NamePart "name-part"
        "the weight's name goes on where the norm's ends (`norm2`, `conv2_kxk`)"
        "layers of a numbered stage may say what they do"
        "timm/maxvit_tiny_tf_224";
    Lone "lone"
        "the only weight of a scope that fits its only norm"
        "shapes tell where names say nothing"
        "timm/rexnet_100";
    // Templates.
    TemplateVote "template-vote"
        "pairs of one template fit all, or none is believed"
        "one piece of code runs them all, and a pair may fit by accident"
        "timm/regnetv_040";
    GroupedInputs "grouped-inputs"
        "that a weight takes a norm's channels in groups is believed only if its kin agree about the groups"
        "almost any width is a multiple of another: 64 channels widened to 128 are not two groups"
        "timm/visformer_small";
    SequenceTransposed "sequence-transposed"
        "what comes right before a norm in a Sequential and fits only as a transposed convolution is one"
        "transposed convolutions need not be named so"
        "Point cloud detectors: transposed layers with kernels of one";
    // Precedent and habits.
    Precedent "precedent"
        "pairs that the shapes of kin prove are believed where their own shapes prove nothing"
        "modules named alike nearby come from one class, and a class runs its norm either first or last"
        "keras/MobileNetV2";
    PreActivationKin "pre-activation-kin"
        "kin that runs its norm first condemns pairs that fit by accident"
        "one block whose width changes gives away a pre-activation network whose others are square"
        "pytorchcv/resattnet56";
    FileKeepsBiases "file-keeps-biases"
        "where most layers in front of norms have a bias, one says nothing for the pair"
        "authors who keep useless biases keep them elsewhere too"
        "handmade/crepe";
    TrailingNorm "trailing-norm"
        "a norm alone behind the last block: the network runs its norms first"
        "pre-activation networks end with a norm of the last block's sum"
        "transformers/beit-seg";
    // Objections.
    SaidShared "said-shared"
        "a weight in a module that says that it is shared, and that stands in several places, may be one weight with several norms"
        "writers store such a weight once a place; values tell"
        "TabNet: layers that steps share, each with a norm of its own";
    MaybeShared "maybe-shared"
        "the same norm has no weight beside it in other blocks"
        "units may share one convolution and have norms of their own"
        "pytorchcv/octresnet10_ad2";
    NoLayer "no-layer"
        "a matrix that neither its name nor a bias shows to be a linear layer"
        "embeddings, tables of positions and codebooks have the shape of one"
        "An embedding beside the only norm of its scope";
    NamedBefore "named-before"
        "the norm says that it comes before its layer (`pre_norm`)"
        "its name says so"
        "A norm that says that it comes before its layer";
    BlockNamedBefore "block-named-before"
        "the block is named after a norm, an activation and a layer, in this order (`bn_relu_conv`)"
        "its name says so"
        "Isotropic blocks that say that they run their norms first";
    Between "between"
        "another module of the block says that it stands before something"
        "it may stand between the layer and its norm"
        "timm/coatnet_0_rw_224";
    NormBeside "norm-beside"
        "a norm of the scope that is named like this one with a word more, is as wide and has no candidate"
        "norms of several domains may stand behind one layer, each for its own"
        "AdvProp: an auxiliary norm behind each layer";
    LayerBeside "layer-beside"
        "a layer of the same shape beside it says that it goes around the weight's, or that both are parts of one over complex numbers"
        "their results are added before the norm"
        "Two layers whose results are added before the norm";
    CountedApart "counted-apart"
        "a framework numbered norms and layers, and the two rows of numbers differ"
        "counters drift apart as soon as a layer has no norm"
        "Keras: counters of layers and of norms that drift apart";
    Biased "biased"
        "the layer has a bias"
        "a norm right behind it would make it useless: an activation may stand between"
        "handmade/crepe";
    EitherSide "either-side"
        "nothing proves that the norm stands behind the layer, and not before it"
        "a square layer fits on both sides"
        "monai/SegResNetDS";
    // What answers objections.
    Convention "convention"
        "a pair alone in its scope is believed where nothing in the file speaks for or against it"
        "layers run before their norms unless something says otherwise"
        "transformers/cvt-13";
    ConventionAlone "convention-alone"
        "the convention does not hold for several pairs of one block"
        "in a network of one width norms may run first all the same"
        "transformers/dpt-depth-bn";
    BiasOfImage "bias-of-image"
        "a bias does not speak against a proven pair in a module of its own, if the layer is an image's or a volume's"
        "layers over time have their activation before their norm (ECAPA, TDNN, CREPE), others hardly ever do"
        "speechbrain, ECAPA-TDNN: layer, ReLU, norm";
    BiasOfTwins "bias-of-twins"
        "a bias does not speak against proven twins in a file that drops biases elsewhere"
        "what is named after each other in a file of good habits goes together"
        "handmade/unet_milesial";
    BiasOfSequences "bias-of-sequences"
        "a bias does not speak against a proven twin in a unit in which a layer with a bias comes right before its norm in a Sequential"
        "some authors never drop biases"
        "pretrainedmodels, FBResNet: biases everywhere";
    BiasOfSqueeze "bias-of-squeeze"
        "a bias does not speak against a layer that narrows what the scope's other layer widens again"
        "squeeze, norm, excite"
        "timm/rexnet_100";
    ComesLast "comes-last"
        "a lone norm is no weight's whose scope holds another layer that could stand behind the norm"
        "`norm, qkv, proj`: the norm opens the block as likely as it follows the weight"
        "transformers/segformer-b0";
    ChooseUnbiased "choose-unbiased"
        "of several candidates the only one without a bias"
        "a norm makes a bias useless"
        "Keras, EfficientNet: a depthwise layer beside the biased layers of its gate";
    // Pre-activation blocks.
    PreActivationChain "pre-activation-chain"
        "in a unit that runs its norms first, a norm is fed by the layer before"
        "`norm1, conv1, norm2, conv2`: `conv1` feeds `norm2`"
        "pytorchcv/densenet121";
    BehindChain "behind-chain"
        "a norm beside a unit that runs its norms first is fed by the unit's last layer"
        "before the unit it would be one norm in front of another"
        "pytorchcv, PyramidNet: a norm behind units that run theirs first";
    ChainStranger "chain-stranger"
        "a unit with another module that could stand between two of its links is left alone"
        "squeeze and excitation, blocks within blocks"
        "timm/regnetv_040";
    ChainSummed "chain-summed"
        "layers that are wide in different directions may be summed instead of follow each other"
        "factorised convolutions (P3D, AHNet)"
        "monai/AHNet";
    ChainConcatenated "chain-concatenated"
        "in a unit that runs its norms first, layers are left alone that are together as wide as what follows the unit"
        "the unit concatenates what its layers put out, so that each is read twice"
        "face-alignment, FAN: a block that concatenates what its layers put out";
    Conformer "conformer"
        "beside a pointwise layer of twice its width and one back, a norm follows the depthwise layer"
        "the convolution module of a Conformer: both it and the layer back fit the norm"
        "transformers, Parakeet: the convolution module of a Conformer";
    // Numbered norms.
    Flow "channel-flow"
        "numbered norms get the layers in the only order in which these feed each other"
        "`bn1, bn2, bn3` count the data's way through `conv_pw, conv_dw, conv_pwl`"
        "timm/efficientnet_b0";
    NumberedSeparable "numbered-separable"
        "of two layers of one width the depthwise one comes first"
        "that is what a depthwise separable convolution is"
        "timm/mixnet_s";
    OnlyAssignment "only-assignment"
        "numbered norms get the only layers that fit them"
        "no two norms share a width"
        "timm/mobilenetv3_small_050";
    LeftOver "left-over"
        "no assignment is believed that leaves a layer over which could stand behind a norm"
        "it makes it as likely that the norm opens the block"
        "A numbered norm before layers that do not say which of them it belongs to";
    // Weights.
    NoAffine "no-scale-and-shift"
        "where most norms have neither scale nor shift, pairs need values that confirm them: all of them if blocks run their norms first, else those whose statistics were touched"
        "networks that binarise their weights as they use them leave both out"
        "pytorchcv/wrn20_10_1bit_cifar10";
    Aliased "aliased"
        "`__metadata__` lists other names for the weight, or for its bias"
        "it feeds something else too"
        "A weight that the metadata lists under another name too";
    Companion "companion"
        "a tensor in the module around a weight, which holds nothing else, makes it unclear what the layer computes"
        "factors of an adapter, positions, scales"
        "A tensor in the module around a layer";
    SideTensor "computed"
        "a tensor beside the weight makes it unclear what the layer computes"
        "masks, factors, quantizers"
        "pytorchcv/xdensenet121_2";
    SaidTransposed "said-transposed"
        "a weight whose name says that it is transposed is"
        "its name says so"
        "transformers/vitpose";
    BiasTransposed "bias-transposed"
        "a bias as long as a transposed convolution's outputs makes the weight one"
        "an ordinary convolution of this shape would have another"
        "pytorchcv/linknet_cityscapes";
    EvenKernel "even-kernel"
        "a square weight with an even kernel may be transposed"
        "most transposed convolutions have even kernels and few others do"
        "A square layer with an even kernel, on a way that nothing tells";
    TransposedKernels "transposed-kernels"
        "a square weight with the kernel of a transposed convolution of the same file may be one"
        "decoders repeat their layers at several widths"
        "pytorchcv/linknet_cityscapes";
    KinTransposed "kin-transposed"
        "a square weight is what weights of its names in other blocks are, if shapes tell of some and these agree; an ordinary \
         convolution only if some of them have its kernel"
        "one piece of code makes them all"
        "Point cloud detectors: a square layer among transposed ones";
    WayUp "way-up"
        "a square weight in a unit that narrows its channels and puts out fewer than it took in may be transposed"
        "decoders of LinkNet and ENet"
        "pytorchcv/enet_cityscapes";
    // Values.
    OneOfSeveral "one-of-several"
        "of several likely weights the one that values single out"
        "a norm's running statistics are those of what feeds it"
        "two layers of one width and one norm";
    ProductOfTwo "product-of-two"
        "of a depthwise layer and one that mixes channels the first comes last if the variances are those of a product of both"
        "a depthwise layer in front of the other is mixed away, and a sum is no product"
        "a depthwise layer behind a pointwise one";
    StoredTwice "stored-twice"
        "a norm that is stored under two names is folded under both or under none"
        "what a loader reads last is used"
        "one norm under two names";
    TiedWeight "tied-weight"
        "a weight that is stored under several names, with norms that differ, feeds no norm"
        "heads run one layer on several levels; folded, each copy would be another"
        "two names of one weight";
    BehindActivation "behind-activation"
        "a norm none of whose running means is negative stands behind an activation"
        "a layer's outputs have means of both signs"
        "twins/conv-relu-norm";
    KinBehindActivation "kin-behind-activation"
        "what stands before one norm stands before all that are alike"
        "one piece of code runs them all"
        "one of two norms behind an activation";
    RivalFits "contradicted"
        "another weight or norm nearby fits the values far better than the pair"
        "the right pair is the one that fits"
        "twins/pre-activation";
    MeansTooHigh "pooled"
        "running means lie above what the weight gives, in proportion to the deviations"
        "as they do behind a max pool"
        "twins/conv-pool-norm";
    ColumnsFollow "columns-follow"
        "a square weight whose columns go with the norm, and not its rows, is of the other kind of convolution"
        "units of one name may be transposed on one way of an encoder-decoder and not on the other"
        "the last of four square layers is transposed";
    Confirmed "values-confirm"
        "row sums that follow the running means, and row norms that follow the running variances, confirm a pair"
        "they answer what names object to"
        "twins/post-activation";
    MaybeSquashed "maybe-squashed"
        "values that may all lie between -1 and 1 confirm no layer with a bias"
        "behind a tanh ranks and signs are as they were"
        "layers with biases and small statistics";
    Predicted "values-predict"
        "the norm before a weight predicts the running means"
        "a norm's output has known means, and a layer is a linear map"
        "two layers without names";
    GateBefore "gate-before"
        "running means may also be predicted by a factor far below 1 where layers with biases narrow and widen what a weight takes in, and none what it puts out"
        "that is a squeeze-and-excitation gate before the layer, not behind it"
        "a gate before a layer without names";
    ImageBefore "image-before"
        "where all but a few norms have their weights, running means may also be predicted by a mean for each of the two to four channels that a weight takes in"
        "no norm stands before a network's first layer, but an image has few channels"
        "a stem without names";
    UsefulBias "useful-bias"
        "values that agree in rank alone give a layer with a bias to a norm only if the norms of its rows all but tell the variances"
        "a norm right behind a layer makes its bias useless: most likely something is added to what it puts out"
        "a layer with a bias in front of a sum";
    OpensUnit "opens-unit"
        "the first norm of a unit that runs its norms first takes nothing from outside the unit, whatever values say"
        "the unit's way around reads what the norm follows"
        "a stem in front of a unit that runs its norms first";
    LeavesSum "leaves-sum"
        "a norm elsewhere takes no layer of a unit that holds another free layer of its width"
        "a residual branch and a layer on the way around it are added as they leave the unit"
        "a norm behind a residual unit";
    ValuesVote "values-vote"
        "a pair that values made must fit by shape in all blocks of its names"
        "sums, parts and second readers' layers fit in one block by accident"
        "the first of several layers that are concatenated";
    SharedByValues "shared-by-values"
        "a weight that a second norm follows, which no weight feeds, feeds neither"
        "heads run one layer on several levels, each with a norm of its own"
        "one layer and a norm a level";
    SumOfMeans "sum-of-means"
        "a norm whose means are those of another one and of what a weight puts out sees a sum: neither is folded"
        "a small addend hardly lowers a prediction"
        "a stem whose output a residual unit adds";
    KinOfValues "values-of-kin"
        "what values showed for two blocks holds for norms of the same names in others, if nothing speaks against it"
        "one piece of code runs them all"
        "a narrow block among wide ones";
    RankAgreement "values-agree"
        "a norm and a free weight agree in rank, and nothing else explains what is left"
        "the same without a norm before the weight"
        "two layers without names";
}
