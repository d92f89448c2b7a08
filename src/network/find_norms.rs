//! Batch norms: which modules of a checkpoint are batch norms.
//!
//! In: names, dtypes and shapes. Out: every [`Norm`], with what makes it unfit to be folded. What makes a module a norm is
//! a running mean and a running variance; where one of the two is missing the norm is listed all the same, so that it is
//! not passed over in silence.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::dialect::{DIALECTS, Dialect, STATISTICS};
use super::names::{ending, plain, rename, split};
use super::norm::{Defect, Norm};
use super::rival_dialects;
use crate::checkpoint::Tensor;

/// Tensor names by their plain form.
pub(super) struct Norms<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    by_plain: HashMap<String, &'a str>,
    /// Plain forms that several tensors share (`a.b` and `a/b`): which of them is meant cannot be told.
    ambiguous: HashSet<String>,
}

impl<'a> Norms<'a> {
    pub(super) fn new(tensors: &'a BTreeMap<String, Tensor>) -> Norms<'a> {
        let (mut by_plain, mut ambiguous) = (HashMap::new(), HashSet::new());
        for name in tensors.keys() {
            if by_plain.insert(plain(name), name.as_str()).is_some() {
                ambiguous.insert(plain(name));
            }
        }
        Norms { tensors, by_plain, ambiguous }
    }

    /// All norms, by name; `format` is what the header's metadata says.
    pub(super) fn find(&self, format: Option<&str>) -> Vec<Norm> {
        let excluded = rival_dialects::excluded(self.tensors, format);
        let is_possible = |dialect: &&Dialect| {
            (dialect.needs_format.is_none() || dialect.needs_format == format) && !excluded.contains(&dialect.name)
        };
        let mut norms = self
            .tensors
            .keys()
            .filter_map(|statistic| {
                DIALECTS.iter().filter(is_possible).find_map(|dialect| self.norm(dialect, statistic))
            })
            .collect::<Vec<_>>();
        norms.sort_by(|a, b| a.name.cmp(&b.name));
        let twins = norms.windows(2).filter(|pair| pair[0].name == pair[1].name).map(|pair| pair[0].name.clone());
        let twins = twins.collect::<HashSet<_>>();
        for norm in &mut norms {
            let unclear = norm.tensors().any(|tensor| self.ambiguous.contains(&plain(tensor)));
            if unclear || twins.contains(&norm.name) {
                norm.defect = Some(Defect::AmbiguousNames);
            }
        }
        // A plan has one line a norm: of two that share a name one is shown.
        norms.dedup_by(|a, b| a.name == b.name);
        norms
    }

    /// The norm that `statistic` is the running variance of, if it is one in this dialect, or the running mean where no
    /// variance stands beside it.
    fn norm(&self, dialect: &'static Dialect, statistic: &str) -> Option<Norm> {
        let as_var = Place::of(statistic, dialect.var, dialect.mean);
        let is_var = as_var.is_some();
        let Place { name, scope, pattern, other, others } =
            as_var.or_else(|| Place::of(statistic, dialect.mean, dialect.var))?;
        let one =
            |pattern: &&str| self.by_plain.get(&format!("{scope}{}", ending(pattern))).map(|&name| name.to_owned());
        let found = others.iter().find_map(one);
        let (gamma, beta) = (dialect.gamma.iter().find_map(one), dialect.beta.iter().find_map(one));
        let missing = match &found {
            Some(_) if !is_var => return None,
            Some(_) if dialect.affine_required && gamma.is_none() && beta.is_none() => return None,
            Some(_) => None,
            None if !self.is_part(dialect, statistic, [&gamma, &beta]) => return None,
            None => Some(rename(statistic, pattern, other)?),
        };
        let partner = found.or_else(|| missing.clone())?;
        let this = statistic.to_owned();
        let (mean, var) = if is_var { (partner, this) } else { (this, partner) };
        let mut norm = Norm {
            name,
            dialect,
            channels: self.tensors[statistic].shape.first().copied().unwrap_or(0),
            gamma,
            beta,
            mean,
            var,
            missing,
            spare: dialect.spare.iter().filter_map(one).collect(),
            defect: None,
        };
        norm.defect = self.defect(&norm, statistic);
        Some(norm)
    }

    /// Whether one statistic without the other is what is left of a norm: nothing beside it says that it is something
    /// else, and where names are not a norm's alone, both scale and shift or the collection say that it is one.
    fn is_part(&self, dialect: &Dialect, statistic: &str, affine: [&Option<String>; 2]) -> bool {
        let shape = &self.tensors[statistic].shape;
        let mut there = affine.iter().filter_map(|tensor| tensor.as_ref());
        let is_named = match there.clone().count() {
            0 => !dialect.affine_required,
            1 => !dialect.affine_required || statistic.starts_with(STATISTICS),
            _ => true,
        };
        is_named && there.all(|tensor| &self.tensors[tensor].shape == shape)
    }

    /// Why `norm`, found by its `statistic`, can never be folded.
    fn defect(&self, norm: &Norm, statistic: &str) -> Option<Defect> {
        if let Some(missing) = &norm.missing {
            return Some(Defect::Incomplete { missing: missing.clone(), found: statistic.to_owned() });
        }
        let expected = &self.tensors[statistic].shape;
        let others = || [Some(&norm.mean), norm.gamma.as_ref(), norm.beta.as_ref()].into_iter().flatten();
        let uneven = others().find(|other| &self.tensors[*other].shape != expected).map(|tensor| {
            let shape = self.tensors[tensor].shape.clone();
            Defect::UnevenShapes { tensor: tensor.clone(), shape, expected: expected.clone() }
        });
        let axes = || (expected.len() != 1).then(|| Defect::NotOneAxis { shape: expected.clone() });
        let no_float = || {
            let tensor = others().chain([&norm.var]).find(|name| self.tensors[*name].dtype.float().is_none())?;
            Some(Defect::NotFloat { tensor: tensor.clone(), dtype: self.tensors[tensor].dtype.clone() })
        };
        uneven.or_else(axes).or_else(no_float)
    }
}

/// Where a statistic stands.
struct Place {
    /// The module's path, as the file spells it.
    name: String,
    /// What the plain names of the module's tensors begin with.
    scope: String,
    /// The pattern that matched.
    pattern: &'static str,
    /// The pattern of the other statistic of such a norm.
    other: &'static str,
    /// All that the other statistic may be called.
    others: &'static [&'static str],
}

impl Place {
    fn of(statistic: &str, patterns: &'static [&'static str], others: &'static [&'static str]) -> Option<Place> {
        patterns.iter().zip(others).find_map(|(pattern, other)| {
            let name = split(statistic, pattern)?;
            let scope = plain(statistic).strip_suffix(ending(pattern))?.to_owned();
            Some(Place { name, scope, pattern, other, others })
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::{Dtype, Metadata, Tensor};
    use crate::network::Inventory;

    fn inventory(tensors: &[(&str, &[u64])]) -> Inventory {
        let tensor = |shape: &[u64]| {
            let dtype = Dtype::parse("F32");
            Tensor { dtype, shape: shape.to_vec(), shard: 0, offset: 0, bytes: 0 }
        };
        let tensors = tensors.iter().map(|(name, shape)| ((*name).to_owned(), tensor(shape)));
        Inventory::new(&tensors.collect(), &[&Metadata::new()])
    }

    /// Names of the norms, and what is missing.
    fn norms(tensors: &[(&str, &[u64])]) -> Vec<(String, Option<String>)> {
        inventory(tensors).norms.into_iter().map(|norm| (norm.name, norm.missing)).collect()
    }

    #[test]
    fn a_statistic_without_the_other_is_a_norm_with_a_defect() {
        // All tensors of a norm; the first two are its statistics.
        let frameworks: [(&str, &[&str]); 7] = [
            (
                "a.bn",
                &["a.bn.running_mean", "a.bn.running_var", "a.bn.weight", "a.bn.bias", "a.bn.num_batches_tracked"],
            ),
            ("a.bn", &["a.bn.running_mean", "a.bn.running_var"]),
            ("bn", &["bn.running_mean", "bn.running_var", "bn.gamma", "bn.beta"]),
            ("bn", &["bn._mean", "bn._variance", "bn.weight", "bn.bias"]),
            ("a/bn", &["a/bn/moving_mean:0", "a/bn/moving_variance:0", "a/bn/gamma:0", "a/bn/beta:0"]),
            ("bn", &["batch_stats/bn/mean", "batch_stats/bn/var", "params/bn/bias"]),
            ("bn", &["bn/~/mean_ema/average", "bn/~/var_ema/average", "bn/scale", "bn/offset", "bn/~/mean_ema/hidden"]),
        ];
        for (name, all) in frameworks {
            let whole = all.iter().map(|tensor| (*tensor, &[8][..])).collect::<Vec<_>>();
            assert_eq!(norms(&whole), [(name.to_owned(), None)]);
            for lost in [0, 1] {
                let rest = [&whole[..lost], &whole[lost + 1..]].concat();
                assert_eq!(norms(&rest), [(name.to_owned(), Some(all[lost].to_owned()))], "{all:?}");
                let found = inventory(&rest);
                let defect = found.norms[0].defect.clone().unwrap().to_string();
                assert!(defect.starts_with(&format!("`{}` is missing, but its `", all[lost])), "{defect}");
                assert_eq!(found.norms[0].tensors().count(), all.len() - 1, "those that are there");
            }
        }
    }

    #[test]
    fn other_layers_are_no_norms() {
        let cases: [&[(&str, &[u64])]; 6] = [
            &[("ln.weight", &[8]), ("ln.bias", &[8]), ("ln/scale", &[8]), ("in.gamma", &[8]), ("in.beta", &[8])],
            &[("conv.weight", &[8, 3, 3, 3]), ("conv.bias", &[8])],
            // A layer that keeps a statistic of its own.
            &[("fc.weight", &[8, 4]), ("fc.running_var", &[8])],
            &[("vq.weight", &[8]), ("vq.running_mean", &[4])],
            // Names that are not a norm's alone: of a scaler, of a distribution.
            &[("scaler.mean", &[8]), ("scaler.scale", &[8])],
            &[("head.mean", &[8]), ("head.var", &[8])],
        ];
        for tensors in cases {
            assert_eq!(norms(tensors), [], "{tensors:?}");
        }
    }

    #[test]
    fn norms_with_burns_names_have_their_scale_and_shift() {
        let found =
            inventory(&[("n.gamma", &[8]), ("n.beta", &[8]), ("n.running_mean", &[8]), ("n.running_var", &[8])]);
        assert_eq!(found.dialect(), Some("burn"));
        assert_eq!(
            (found.norms[0].gamma.as_deref(), found.norms[0].beta.as_deref()),
            (Some("n.gamma"), Some("n.beta"))
        );
    }
}
