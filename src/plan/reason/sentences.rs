//! 2 PLAN: objections in words.
//!
//! In: an [`Objection`] and the inventory whose names it speaks of. Out: a sentence fragment that names what was found and
//! says what would settle it. It is made where a plan is written down.

use std::fmt::Write;

use super::Objection;
use crate::network::{Inventory, Weight, WeightId};

impl Objection {
    /// A sentence fragment that names what was found and says what would settle it.
    pub(in crate::plan) fn sentence(&self, network: &Inventory) -> String {
        match self {
            Objection::Defect(norm) => network[*norm].defect.as_ref().map(ToString::to_string).unwrap_or_default(),
            Objection::Quantized(_)
            | Objection::Aliased(_)
            | Objection::Computed(_)
            | Objection::MaybeTransposed(_)
            | Objection::OtherOperation { .. }
            | Objection::WrongChannels { .. }
            | Objection::SeveralNorms(_) => self.about_weight(network),
            Objection::FeedsAnother { .. } | Objection::CatalogueKeeps { .. } | Objection::CatalogueMisfit(_) => {
                self.of_catalogue(network)
            }
            Objection::BehindActivation { .. }
            | Objection::KinBehindActivation(_)
            | Objection::Tied(_)
            | Objection::Contradicted { .. }
            | Objection::Pooled { .. } => self.of_values(network),
            Objection::NamedBefore | Objection::Between | Objection::NoOrder | Objection::NoAffine => {
                self.of_names().to_owned()
            }
            Objection::NoLayer(_)
            | Objection::Companion(_)
            | Objection::Concatenated(_)
            | Objection::Followed { .. }
            | Objection::ReadTwice { .. }
            | Objection::NormBeside { .. }
            | Objection::Beside { .. }
            | Objection::MaybeBinarised(_)
            | Objection::StoredTwice(_) => self.to_layers(network),
            _ => self.to_candidates(network),
        }
    }

    /// Objections that name no weight.
    fn of_names(&self) -> &'static str {
        match self {
            Objection::NamedBefore => {
                "by its name or its block's it runs before its layer; name its producer in a plan"
            }
            Objection::Between => {
                "by its name, another module of the block may stand between it and its weight; name its producer in a plan"
            }
            Objection::NoOrder => {
                "its block's layers fit its block's numbered norms in no order, or in several; name its producer in a plan"
            }
            _ => {
                "most norms of this file have neither scale nor shift, as where weights are binarised when they are used"
            }
        }
    }

    /// Objections to candidates that names and shapes propose.
    fn to_candidates(&self, network: &Inventory) -> String {
        let tensor = |id: &WeightId| &network[*id].tensor;
        match self {
            Objection::NoCandidate { is_identity: true, .. } => {
                "by its name an identity branch: what it normalises is its block's input, which no single layer makes"
                    .to_owned()
            }
            Objection::NoCandidate { channels, .. } => format!(
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
            Objection::MisfitElsewhere(weight) => {
                format!("`{}` fits, but in other blocks of this kind the same pair does not", tensor(weight))
            }
            Objection::SaidShared(weight) => format!(
                "`{}` lies in a module that says that it is shared and is stored several times: it may be one layer with \
                 several norms",
                tensor(weight)
            ),
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
            _ => String::new(),
        }
    }

    /// Objections to weights that may not be, or not alone, what the norm sees.
    fn to_layers(&self, network: &Inventory) -> String {
        let tensor = |id: &WeightId| &network[*id].tensor;
        match self {
            Objection::NoLayer(weight) => format!(
                "neither a word of its name nor a bias shows that `{}` is a layer; name the weight in a plan",
                tensor(weight)
            ),
            Objection::Followed { weight, by } => format!(
                "the running statistics of `{}`, which no weight is known to feed, follow `{}` as well: it may be shared",
                network[*by].name,
                tensor(weight)
            ),
            Objection::NormBeside { weight, other } => format!(
                "`{}` beside it has no layer of its own, so that `{}` may feed both; name the weight in a plan",
                network[*other].name,
                tensor(weight)
            ),
            Objection::ReadTwice { weight, norm, by } => format!(
                "the running means of `{}` are those of `{}` and of a layer together: what `{}` puts out is read twice",
                network[*by].name,
                network[*norm].name,
                tensor(weight)
            ),
            Objection::Concatenated(weight) => format!(
                "the layers of its block are together as wide as what follows: what `{}` puts out may be concatenated with \
                 what the others do, and so be read twice",
                tensor(weight)
            ),
            Objection::Companion(id) => {
                let beside = network[*id].companion.as_deref().unwrap_or_default();
                format!("`{}` may not be used as it is stored: `{beside}` lies in the module around it", tensor(id))
            }
            Objection::Beside { weight, other } => format!(
                "`{}` stands beside `{}`: the two may be added before the norm; name its producer in a plan",
                tensor(other),
                tensor(weight)
            ),
            Objection::MaybeBinarised(weight) => format!(
                "most norms of this file have neither scale nor shift, as where weights are binarised when they are used, \
                 and values do not confirm `{}`",
                tensor(weight)
            ),
            Objection::StoredTwice(norm) => format!(
                "the same norm is stored as `{}` too, and which of the two is used depends on what loads the file",
                network[*norm].name
            ),
            _ => String::new(),
        }
    }

    /// Objections that values raise.
    fn of_values(&self, network: &Inventory) -> String {
        match self {
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
            _ => String::new(),
        }
    }

    /// Objections to a weight as such.
    fn about_weight(&self, network: &Inventory) -> String {
        let weight = |id: &WeightId| &network[*id];
        match self {
            Objection::SeveralNorms(id) => format!("`{}` seems to feed several norms", weight(id).tensor),
            Objection::WrongChannels { weight, channels } => wrong_channels(network, *weight, *channels),
            Objection::Quantized(id) => {
                let found = weight(id);
                format!("its weight `{}` is stored as {}: quantized weights are not folded", found.tensor, found.dtype)
            }
            Objection::Aliased(id) => {
                let Weight { tensor, aliased, .. } = weight(id);
                match aliased.as_ref().filter(|aliased| *aliased != tensor) {
                    None => format!(
                        "its weight `{tensor}` is used under other names too, so that it feeds more than this norm"
                    ),
                    Some(bias) => format!(
                        "the bias `{bias}` of its layer is used under other names too, so that it is not to be changed"
                    ),
                }
            }
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
