//! 2 PLAN: what the planner finds, as data: [`Objection`]s to a pair, [`Support`] for it, and where an eps comes from.
//!
//! In: ids of norms and weights, numbers. Out: for each finding a stable code, a sentence for people, and who could settle
//! it. Sentences are made where a plan is written down; nothing in the planner reads one.

use std::fmt::Write;
use std::sync::Arc;

use super::measure::{Agreement, Follower};
use crate::network::{Inventory, NormId, Op, WeightId};

/// Who could settle an objection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnsweredBy {
    /// Values: they may confirm the only candidate.
    Values,
    /// Values, but only by singling out one of several candidates.
    Comparison,
    /// Nobody but a plan that states the pair.
    Plan,
}

/// Why a norm stays, or would stay if nothing better came.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Objection {
    /// The norm itself cannot be folded; [`Norm::defect`](crate::network::Norm::defect) says why.
    Defect(NormId),
    /// Most norms of the file have neither scale nor shift.
    NoAffine,
    /// No rule proposes a weight.
    NoCandidate { channels: u64 },
    /// Several weights fit.
    Rivals { weights: Vec<WeightId>, channels: u64 },
    /// Norms of this kind run before their layers.
    PreActivation(WeightId),
    /// The candidate does not put out the norm's channels.
    WrongChannels { weight: WeightId, channels: u64 },
    /// It does, but in other blocks the same pair does not.
    MisfitElsewhere(WeightId),
    /// The same norm has no weight beside it in other blocks.
    MaybeShared(WeightId),
    /// Modules of these names run their norm first elsewhere in the file.
    MixedPrecedent(WeightId),
    /// A norm right behind a layer makes its bias useless.
    Biased(WeightId),
    /// The layer could stand behind the norm as well; `usual` if the convention is all there is, for or against it.
    EitherSide { weight: WeightId, usual: bool },
    /// Norms and layers of the scope were counted apart.
    CountedApart(WeightId),
    /// The norm's name, or its block's, says that it comes before its layer.
    NamedBefore,
    /// The name of another module of the block says that it stands before something.
    Between,
    /// The scope's layers fit its numbered norms in no order, or in several.
    NoOrder,
    /// Several norms want the weight.
    SeveralNorms(WeightId),
    /// The weight is stored in a type that cannot be scaled.
    Quantized(WeightId),
    /// `__metadata__` lists other names for the weight.
    Aliased(WeightId),
    /// A tensor beside the weight makes it unclear what the layer computes.
    Computed(WeightId),
    /// The weight may be a convolution's or a transposed one's.
    MaybeTransposed(WeightId),
    /// A rule of the catalogue states an operation that the shape does not allow.
    OtherOperation { weight: WeightId, op: Op },
    /// The catalogue knows that the weight feeds another norm.
    FeedsAnother { weight: WeightId, norm: NormId, source: Arc<str> },
    /// The catalogue says that the norm must stay.
    CatalogueKeeps { why: &'static str, source: Arc<str> },
    /// A rule of the catalogue would speak for the norm, but does not fit the file.
    CatalogueMisfit(Arc<RuleMisfit>),
    /// No running mean is negative.
    BehindActivation { channels: u64 },
    /// The same of a norm of the same kind.
    KinBehindActivation(NormId),
    /// Weights under several names hold the same values.
    Tied(Arc<[WeightId]>),
    /// Another pair fits the values far better.
    Contradicted {
        norm: NormId,
        weight: WeightId,
        follower: Follower,
        found: Agreement,
        own: Agreement,
        looked_at: Sampled,
    },
    /// The running means lie above what the weight gives.
    Pooled { factor: f64, standard_errors: f64, looked_at: Sampled },
}

/// A rule of the catalogue that does not fit the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RuleMisfit {
    /// The norm that gives it away.
    pub(super) norm: NormId,
    /// What the rule says.
    pub(super) rule: String,
    /// Who says so.
    pub(super) source: Arc<str>,
    /// What is wrong with that.
    pub(super) problem: Objection,
}

impl RuleMisfit {
    pub(super) fn sentence(&self, network: &Inventory) -> String {
        let (norm, problem) = (&network[self.norm].name, self.problem.sentence(network));
        format!("norm `{norm}`: the rule that {} does not fit this file: {problem}; {}", self.rule, self.source)
    }
}

/// How many pairs of a template were looked at, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sampled {
    pub(super) looked_at: usize,
    pub(super) all: usize,
}

/// What speaks for a pair.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Support {
    /// The norm follows the weight in an `nn.Sequential`.
    Sequence,
    /// Nothing else is in the scope.
    OnlyPair,
    /// Names are alike.
    Twin,
    /// Two rows of the scope are counted alike.
    Row,
    /// The weight's name begins like the norm's.
    NamePart,
    /// No other weight of the scope fits.
    Lone,
    /// The layer before, in a pre-activation block.
    PreActivationChain,
    /// The only order in which layers feed numbered norms.
    Flow,
    /// Depthwise before pointwise.
    Separable,
    /// The only assignment of layers to numbered norms.
    OnlyAssignment,
    /// One of several weights of its scope.
    OneOfSeveral,
    /// The catalogue knows.
    Catalogue(Arc<str>),
    /// Row sums and norms follow the running statistics.
    Confirmed { sums: f64, norms: f64, looked_at: Sampled },
    /// The norm before the layer predicts the running means.
    Predicted { before: NormId, activation: &'static str, explained: f64 },
    /// Found by values alone, by ranks.
    Agreed(Agreement),
}

impl Sampled {
    /// One pair that was judged by itself.
    pub(super) const ONE: Sampled = Sampled { looked_at: 1, all: 1 };

    fn clause(self) -> String {
        match self {
            Sampled { looked_at: 1, all: 1 } => String::new(),
            Sampled { looked_at, all } => format!("; {looked_at} of {all} alike looked at"),
        }
    }
}

impl Objection {
    /// A name for it that stays the same from version to version.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Objection::Defect(_) => "norm-defect",
            Objection::NoAffine => "no-scale-and-shift",
            Objection::NoCandidate { .. } => "no-candidate",
            Objection::Rivals { .. } => "several-candidates",
            Objection::PreActivation(_) => "pre-activation",
            Objection::WrongChannels { .. } => "wrong-channels",
            Objection::MisfitElsewhere(_) => "misfit-elsewhere",
            Objection::MaybeShared(_) => "maybe-shared",
            Objection::MixedPrecedent(_) => "mixed-precedent",
            Objection::Biased(_) => "biased",
            Objection::EitherSide { .. } => "either-side",
            Objection::CountedApart(_) => "counted-apart",
            Objection::NamedBefore => "named-before",
            Objection::Between => "between",
            Objection::NoOrder => "no-order",
            Objection::SeveralNorms(_) => "several-norms",
            Objection::Quantized(_) => "quantized",
            Objection::Aliased(_) => "aliased",
            Objection::Computed(_) => "computed",
            Objection::MaybeTransposed(_) => "maybe-transposed",
            Objection::OtherOperation { .. } => "other-operation",
            Objection::FeedsAnother { .. } => "feeds-another",
            Objection::CatalogueKeeps { .. } => "catalogue-keeps",
            Objection::CatalogueMisfit(_) => "catalogue-misfit",
            Objection::BehindActivation { .. } => "behind-activation",
            Objection::KinBehindActivation(_) => "kin-behind-activation",
            Objection::Tied(_) => "tied-weight",
            Objection::Contradicted { .. } => "contradicted",
            Objection::Pooled { .. } => "pooled",
        }
    }

    /// Who could settle it.
    pub(super) fn answered_by(&self) -> AnsweredBy {
        match self {
            Objection::Biased(_) | Objection::EitherSide { usual: true, .. } => AnsweredBy::Values,
            Objection::EitherSide { usual: false, .. } | Objection::MixedPrecedent(_) => AnsweredBy::Comparison,
            _ => AnsweredBy::Plan,
        }
    }

    /// The weight that is the norm's, but cannot be folded into.
    pub(super) fn unusable_weight(&self) -> Option<WeightId> {
        match self {
            Objection::Quantized(weight)
            | Objection::Aliased(weight)
            | Objection::Computed(weight)
            | Objection::MaybeTransposed(weight)
            | Objection::WrongChannels { weight, .. }
            | Objection::OtherOperation { weight, .. } => Some(*weight),
            _ => None,
        }
    }

    /// A sentence fragment that names what was found and says what would settle it.
    pub(super) fn sentence(&self, network: &Inventory) -> String {
        let tensor = |id: &WeightId| &network[*id].tensor;
        match self {
            Objection::Defect(norm) => network[*norm].defect.as_ref().map(ToString::to_string).unwrap_or_default(),
            Objection::NoAffine => {
                "most norms of this file have neither scale nor shift, as where weights are binarised when they are used"
                    .to_owned()
            }
            Objection::NoCandidate { channels } => format!(
                "no weight in its scope is named or placed like its producer with {channels} output channels; name it in \
                 a plan"
            ),
            Objection::Rivals { weights, channels } => format!(
                "{} have {channels} output channels and nothing tells them apart; name the right one in a plan",
                listed(network, weights)
            ),
            Objection::PreActivation(weight) => format!(
                "norms of its kind run before their layers: it feeds `{}`, and what feeds it is not in its block",
                tensor(weight)
            ),
            Objection::WrongChannels { weight, channels } => wrong_channels(network, *weight, *channels),
            Objection::MisfitElsewhere(weight) => {
                format!("`{}` fits, but in other blocks of this kind the same pair does not", tensor(weight))
            }
            Objection::MaybeShared(weight) => {
                format!("`{}` may be shared: the same norm in other blocks has no weight beside it", tensor(weight))
            }
            Objection::MixedPrecedent(weight) => format!(
                "`{}` fits, but modules named like these run their norm first elsewhere in the file; name it in a plan",
                tensor(weight)
            ),
            Objection::Biased(weight) => format!(
                "`{}` has a bias, which a norm directly behind it would make useless: something may stand between; name \
                 the weight in a plan",
                tensor(weight)
            ),
            Objection::EitherSide { weight, .. } => format!(
                "`{}` fits, but the norm may as well stand elsewhere in the block; name it in a plan",
                tensor(weight)
            ),
            Objection::CountedApart(weight) => format!(
                "`{}` has the same number, but norms and layers were counted apart here; name the right one in a plan",
                tensor(weight)
            ),
            Objection::NamedBefore => {
                "by its name or its block's it runs before its layer; name its producer in a plan".to_owned()
            }
            Objection::Between => "by its name, another module of the block may stand between it and its weight; name \
                                   its producer in a plan"
                .to_owned(),
            Objection::NoOrder => "its block's layers fit its block's numbered norms in no order, or in several; name \
                                   its producer in a plan"
                .to_owned(),
            Objection::SeveralNorms(weight) => format!("`{}` seems to feed several norms", tensor(weight)),
            Objection::Tied(weights) => format!(
                "{} hold the same values, so that one weight feeds several norms or a norm and something else",
                listed(network, weights)
            ),
            Objection::BehindActivation { channels } => format!(
                "none of its {channels} running means is negative, so an activation stands before it (a layer alone \
                 would do that once in 2^{channels})"
            ),
            Objection::KinBehindActivation(norm) => {
                format!("an activation stands before `{}`, and so before all norms of its kind", network[*norm].name)
            }
            Objection::Contradicted { norm, weight, follower, found, own, looked_at } => format!(
                "values contradict it: the running statistics of {} (row sums and means correlate by {:.2}, row norms \
                 and variances by {:.2}; as planned by {:.2} and {:.2}){}",
                follower.clause(network, *norm, *weight),
                found.sums,
                found.norms,
                own.sums,
                own.norms,
                looked_at.clause()
            ),
            Objection::Pooled { factor, standard_errors, looked_at } => format!(
                "values contradict it: its running means lie {factor:.2} running deviations above what the weight gives \
                 ({standard_errors:.0} standard errors), so a pool or an activation stands between{}",
                looked_at.clause()
            ),
            Objection::Quantized(_)
            | Objection::Aliased(_)
            | Objection::Computed(_)
            | Objection::MaybeTransposed(_)
            | Objection::OtherOperation { .. } => self.about_weight(network),
            Objection::FeedsAnother { .. } | Objection::CatalogueKeeps { .. } | Objection::CatalogueMisfit(_) => {
                self.of_catalogue(network)
            }
        }
    }

    /// Objections to a weight as such.
    fn about_weight(&self, network: &Inventory) -> String {
        let weight = |id: &WeightId| &network[*id];
        match self {
            Objection::Quantized(id) => {
                let found = weight(id);
                format!("its weight `{}` is stored as {}: quantized weights are not folded", found.tensor, found.dtype)
            }
            Objection::Aliased(id) => format!(
                "its weight `{}` is used under other names too, so that it feeds more than this norm",
                weight(id).tensor
            ),
            Objection::Computed(id) => {
                let found = weight(id);
                let beside = found.side_tensor.as_deref().unwrap_or_default();
                format!("`{}` may not be used as it is stored: `{beside}` lies beside it", found.tensor)
            }
            Objection::MaybeTransposed(id) => format!(
                "`{}` may be a convolution or a transposed one, and names do not tell; say which in a plan",
                weight(id).tensor
            ),
            Objection::OtherOperation { weight: id, op } => {
                let found = weight(id);
                format!("`{}` of shape {:?} is no {}", found.tensor, found.shape, op.name())
            }
            _ => String::new(),
        }
    }

    /// Objections that the catalogue makes.
    fn of_catalogue(&self, network: &Inventory) -> String {
        match self {
            Objection::FeedsAnother { weight, norm, source } => {
                format!("`{}` feeds `{}`; {source}", network[*weight].tensor, network[*norm].name)
            }
            Objection::CatalogueKeeps { why, source } => format!("{why}; {source}"),
            Objection::CatalogueMisfit(misfit) => misfit.sentence(network),
            _ => String::new(),
        }
    }
}

fn wrong_channels(network: &Inventory, weight: WeightId, channels: u64) -> String {
    let weight = &network[weight];
    match weight.bias_channels {
        Some(bias) if bias != channels => {
            format!("`{}` has a bias of {bias} channels, and the norm has {channels}", weight.tensor)
        }
        _ => format!("`{}` has shape {:?} and cannot put out its {channels} channels", weight.tensor, weight.shape),
    }
}

/// The first three of `weights`, and how many more there are.
fn listed(network: &Inventory, weights: &[WeightId]) -> String {
    let names = weights.iter().take(3).map(|&weight| format!("`{}`", network[weight].tensor));
    let mut list = names.collect::<Vec<_>>().join(" and ");
    if let Some(more) = weights.len().checked_sub(3).filter(|more| *more > 0) {
        // Writing to a string cannot fail.
        let _ = write!(list, " and {more} more");
    }
    list
}

impl Support {
    /// A name for it that stays the same from version to version.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Support::Sequence => "sequence",
            Support::OnlyPair => "only-pair",
            Support::Twin => "twin-names",
            Support::Row => "row",
            Support::NamePart => "name-part",
            Support::Lone => "lone",
            Support::PreActivationChain => "pre-activation-chain",
            Support::Flow => "channel-flow",
            Support::Separable => "separable",
            Support::OnlyAssignment => "only-assignment",
            Support::OneOfSeveral => "one-of-several",
            Support::Catalogue(_) => "catalogue",
            Support::Confirmed { .. } => "values-confirm",
            Support::Predicted { .. } => "values-predict",
            Support::Agreed(_) => "values-agree",
        }
    }

    /// A sentence fragment.
    pub(super) fn sentence(&self, network: &Inventory) -> String {
        match self {
            Support::Sequence => "the norm follows the weight in a sequence".to_owned(),
            Support::OnlyPair => "the only norm and the only weight of their scope".to_owned(),
            Support::Twin => "norm and weight are named alike".to_owned(),
            Support::Row => "norms and weights of the scope are counted alike".to_owned(),
            Support::NamePart => "the weight's name begins like the norm's".to_owned(),
            Support::Lone => "the only weight of the scope that fits the norm in all blocks of this kind".to_owned(),
            Support::PreActivationChain => "the layer before, in a block that runs its norms first".to_owned(),
            Support::Flow => "the only order in which the block's layers feed its numbered norms".to_owned(),
            Support::Separable => "depthwise before pointwise, as their numbered norms".to_owned(),
            Support::OnlyAssignment => {
                "the only assignment of the scope's layers to its numbered norms that fits".to_owned()
            }
            Support::OneOfSeveral => "one of several weights of its scope".to_owned(),
            Support::Catalogue(known) => known.to_string(),
            Support::Confirmed { sums, norms, looked_at } => format!(
                "values: row sums follow running means ({sums:.2}), row norms follow running variances ({norms:.2}){}",
                looked_at.clause()
            ),
            Support::Predicted { before, activation, explained } => format!(
                "from values alone: `{}` and {activation} before the weight predict the running means ({:.0} % of their \
                 variance)",
                network[*before].name,
                100.0 * explained
            ),
            Support::Agreed(found) => format!(
                "from values alone: row sums follow running means ({:.2}), row norms follow running variances ({:.2}), \
                 and nothing else of this width explains the rest",
                found.sums, found.norms
            ),
        }
    }
}
