//! 2 PLAN: what stands against a pair, as data.
//!
//! In: ids of norms and weights, numbers. Out: an [`Objection`] with a stable code and who could settle it; its sentence is
//! in [`sentences`](super::sentences).

use std::sync::Arc;

use super::{AnsweredBy, RuleMisfit, Sampled};
use crate::network::{Norm, NormId, Op, WeightId};
use crate::plan::measure::{Agreement, Follower};

/// Why a norm stays, or would stay if nothing better came.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::plan) enum Objection {
    /// The norm itself cannot be folded; [`Norm::defect`](crate::network::Norm::defect) says why.
    Defect(NormId),
    /// Most norms of the file have neither scale nor shift.
    NoAffine,
    /// No rule proposes a weight.
    NoCandidate { channels: u64, is_identity: bool },
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
    /// A module around it says that it is shared, and is stored several times.
    SaidShared(WeightId),
    /// Modules of these names run their norm first elsewhere in the file.
    MixedPrecedent(WeightId),
    /// Nothing shows that the weight is a layer's.
    NoLayer(WeightId),
    /// A norm that no weight feeds follows the weight as well.
    Followed { weight: WeightId, by: NormId },
    /// A norm beside it, named like it with a word more, has no layer of its own.
    NormBeside { weight: WeightId, other: NormId },
    /// What the weight puts out is added to something else in front of another norm.
    ReadTwice { weight: WeightId, norm: NormId, by: NormId },
    /// A tensor lies in the module around the weight, and nothing shows what it is for.
    Companion(WeightId),
    /// The layers of a unit that runs its norms first put out together what the unit does: its outputs are concatenated.
    Concatenated(WeightId),
    /// Another layer beside the weight may be added to it, or explains the norm as well.
    Beside { weight: WeightId, other: WeightId },
    /// Most norms have neither scale nor shift, and values do not confirm the pair.
    MaybeBinarised(WeightId),
    /// The same norm is stored under another name, where it is not folded alike.
    StoredTwice(NormId),
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

impl Objection {
    /// Nothing is proposed for a norm. Identity branches have no layer that anybody could name: RepVGG's and MobileOne's.
    pub(in crate::plan) fn no_candidate(norm: &Norm) -> Objection {
        let module = norm.name.rsplit(['.', '/']).next().unwrap_or_default();
        let is_identity = module.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "identity");
        Objection::NoCandidate { channels: norm.channels, is_identity }
    }

    /// A name for it that stays the same from version to version.
    pub(in crate::plan) fn code(&self) -> &'static str {
        match self {
            Objection::Defect(_) => "norm-defect",
            Objection::NoAffine => "no-scale-and-shift",
            Objection::NoCandidate { .. } => "no-candidate",
            Objection::Rivals { .. } => "several-candidates",
            Objection::PreActivation(_) => "pre-activation",
            Objection::WrongChannels { .. } => "wrong-channels",
            Objection::MisfitElsewhere(_) => "misfit-elsewhere",
            Objection::MaybeShared(_) => "maybe-shared",
            Objection::SaidShared(_) => "said-shared",
            Objection::MixedPrecedent(_) => "mixed-precedent",
            Objection::NoLayer(_) => "no-layer",
            Objection::Followed { .. } => "shared-by-values",
            Objection::NormBeside { .. } => "norm-beside",
            Objection::ReadTwice { .. } => "read-twice",
            Objection::Companion(_) => "companion",
            Objection::Concatenated(_) => "concatenated",
            Objection::Beside { .. } => "layer-beside",
            Objection::MaybeBinarised(_) => "maybe-binarised",
            Objection::StoredTwice(_) => "stored-twice",
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
    pub(in crate::plan) fn answered_by(&self) -> AnsweredBy {
        match self {
            Objection::Biased(_)
            | Objection::SaidShared(_)
            | Objection::NoLayer(_)
            | Objection::Companion(_)
            | Objection::EitherSide { usual: true, .. } => AnsweredBy::Values,
            Objection::EitherSide { usual: false, .. } | Objection::MixedPrecedent(_) => AnsweredBy::Comparison,
            _ => AnsweredBy::Plan,
        }
    }

    /// The weights that it speaks of, of which a plan may state one.
    pub(in crate::plan) fn weights(&self) -> &[WeightId] {
        match self {
            Objection::Rivals { weights, .. } => weights,
            Objection::MisfitElsewhere(weight)
            | Objection::MaybeShared(weight)
            | Objection::SaidShared(weight)
            | Objection::MixedPrecedent(weight)
            | Objection::Biased(weight)
            | Objection::EitherSide { weight, .. }
            | Objection::CountedApart(weight)
            | Objection::NoLayer(weight)
            | Objection::Companion(weight)
            | Objection::Concatenated(weight)
            | Objection::Followed { weight, .. }
            | Objection::ReadTwice { weight, .. }
            | Objection::NormBeside { weight, .. }
            | Objection::Beside { weight, .. }
            | Objection::MaybeBinarised(weight)
            | Objection::MaybeTransposed(weight)
            | Objection::Contradicted { weight, .. } => std::slice::from_ref(weight),
            _ => &[],
        }
    }

    /// The weight that is the norm's, but cannot be folded into.
    pub(in crate::plan) fn unusable_weight(&self) -> Option<WeightId> {
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
}
