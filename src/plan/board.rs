//! 2 PLAN: the board: what is thought of every norm. The one thing that changes while a plan is made, by one method.
//!
//! In: [`Finding`]s of the rooms `propose`, `object` and `measure`. Out: where each norm stands, which norm a weight feeds,
//! and, for a norm that is to be explained, how it came to that. One weight feeds one norm.

use super::measure::{Agreement, Follower};
use super::reason::{Objection, Support};
use super::rulebook::Rulebook;
use crate::network::{ChannelMap, Inventory, Norm, NormId, Op, WeightId};

/// A weight that may feed a norm.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hypothesis {
    pub(super) weight: WeightId,
    /// What kind of layer the weight is.
    pub(super) op: Op,
    /// Its channel map.
    pub(super) map: ChannelMap,
    /// What speaks for it.
    pub(super) support: Vec<Support>,
    /// What must be answered before it is believed.
    pub(super) doubt: Option<Doubt>,
}

/// An objection to a hypothesis that values may answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Doubt {
    pub(super) objections: Vec<Objection>,
    /// Whether the answer for one norm says nothing about others of the same names.
    pub(super) is_its_own: bool,
    /// Whether values single the weight out; a sole candidate is put to the other tests even if not, for what they say.
    pub(super) is_singled_out: bool,
}

/// Why a norm is not decided, and the hypotheses among which values may decide.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// The reason first.
    pub(super) objections: Vec<Objection>,
    /// Likely producers; empty if values are not asked. One weight may stand here as several kinds of layers.
    pub(super) hypotheses: Vec<Hypothesis>,
    /// See [`Doubt::is_its_own`].
    pub(super) is_its_own: bool,
}

/// Where a norm stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// Names may still decide it, or values.
    Open(Question),
    /// Values alone may decide it: it has its weight, but not what kind of layer that is.
    Asked(Question),
    /// A weight feeds it, as far as is known.
    Paired(Hypothesis),
    /// It stays; the first objection is the reason.
    Kept(Vec<Objection>),
}

/// Something that was found out about one norm.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// Where it stands from now on.
    Stands(Standing),
    /// Something more speaks for its pair.
    Supported(Support),
    /// Something more stands against deciding it.
    Objected(Objection),
    /// How far a pairing agrees with values: the planned one, or another in its place.
    Measured { instead: Option<Follower>, agreement: Agreement },
}

/// What is thought of every norm of a checkpoint.
pub(super) struct Board<'n> {
    pub(super) network: &'n Inventory,
    /// The rules in force.
    pub(super) book: Rulebook,
    standings: Vec<Standing>,
    /// The norm that a weight feeds.
    owners: Vec<Option<NormId>>,
    /// The norm whose history is kept.
    explained: Option<NormId>,
    history: Vec<(&'static str, Finding)>,
}

impl Question {
    /// An objection that values are not asked about.
    pub(super) fn unanswered(objection: Objection) -> Question {
        Question { objections: vec![objection], hypotheses: Vec::new(), is_its_own: false }
    }
}

impl Finding {
    /// The norm stays for this reason.
    pub(super) fn kept(objection: Objection) -> Finding {
        Finding::Stands(Standing::kept(objection))
    }

    /// The norm is open for this reason.
    pub(super) fn open(objection: Objection) -> Finding {
        Finding::Stands(Standing::Open(Question::unanswered(objection)))
    }
}

impl Standing {
    /// It stays for this reason.
    pub(super) fn kept(objection: Objection) -> Standing {
        Standing::Kept(vec![objection])
    }

    /// The weight that is no other norm's any more: of a pair, or of one that only the weight itself prevents.
    fn holds(&self) -> Option<WeightId> {
        match self {
            Standing::Paired(hypothesis) => Some(hypothesis.weight),
            Standing::Asked(question) => question.hypotheses.first().map(|hypothesis| hypothesis.weight),
            Standing::Kept(objections) => objections.first().and_then(Objection::unusable_weight),
            Standing::Open(_) => None,
        }
    }
}

impl<'n> Board<'n> {
    /// Every norm with nothing proposed for it; the history of `explained` is kept.
    pub(super) fn new(network: &'n Inventory, book: Rulebook, explained: Option<NormId>) -> Board<'n> {
        let standing = |(index, norm): (usize, &Norm)| match norm.defect {
            Some(_) => Standing::kept(Objection::Defect(NormId::new(index))),
            None => Standing::Open(Question::unanswered(Objection::no_candidate(norm))),
        };
        Board {
            network,
            book,
            standings: network.norms.iter().enumerate().map(standing).collect(),
            owners: vec![None; network.weights.len()],
            explained,
            history: Vec::new(),
        }
    }

    /// Takes note of what `stage` found about `norm`.
    pub(super) fn apply(&mut self, stage: &'static str, norm: NormId, finding: Finding) {
        if self.explained == Some(norm) {
            self.history.push((stage, finding.clone()));
        }
        let standing = &mut self.standings[norm.index()];
        match (finding, &mut *standing) {
            (Finding::Stands(next), _) => {
                let (held, holds) = (standing.holds(), next.holds());
                *standing = next;
                if let Some(weight) = held.filter(|weight| self.owners[weight.index()] == Some(norm)) {
                    self.owners[weight.index()] = None;
                }
                if let Some(weight) = holds {
                    self.owners[weight.index()] = Some(norm);
                }
            }
            (Finding::Supported(support), Standing::Paired(pair)) => pair.support.push(support),
            (
                Finding::Objected(objection),
                Standing::Open(Question { objections, .. })
                | Standing::Asked(Question { objections, .. })
                | Standing::Kept(objections),
            ) => objections.push(objection),
            (Finding::Supported(_) | Finding::Objected(_) | Finding::Measured { .. }, _) => {}
        }
    }

    /// The same for findings about several norms.
    pub(super) fn apply_all(&mut self, stage: &'static str, findings: impl IntoIterator<Item = (NormId, Finding)>) {
        findings.into_iter().for_each(|(norm, finding)| self.apply(stage, norm, finding));
    }

    /// Where `norm` stands.
    pub(super) fn standing(&self, norm: NormId) -> &Standing {
        &self.standings[norm.index()]
    }

    /// The weight that feeds `norm`, as far as is known.
    pub(super) fn pair(&self, norm: NormId) -> Option<&Hypothesis> {
        match self.standing(norm) {
            Standing::Paired(hypothesis) => Some(hypothesis),
            Standing::Open(_) | Standing::Asked(_) | Standing::Kept(_) => None,
        }
    }

    /// The question about `norm`, if values may answer it.
    pub(super) fn question(&self, norm: NormId) -> Option<&Question> {
        match self.standing(norm) {
            Standing::Open(question) | Standing::Asked(question) => {
                Some(question).filter(|question| !question.hypotheses.is_empty())
            }
            Standing::Paired(_) | Standing::Kept(_) => None,
        }
    }

    /// All norms.
    pub(super) fn norms(&self) -> impl Iterator<Item = NormId> + use<> {
        (0..self.standings.len()).map(NormId::new)
    }

    /// All pairs.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (NormId, &Hypothesis)> {
        self.norms().filter_map(|norm| Some((norm, self.pair(norm)?)))
    }

    /// Norms that names may still decide.
    pub(super) fn open(&self) -> impl Iterator<Item = NormId> + '_ {
        self.norms().filter(|&norm| self.is_open(norm))
    }

    /// Whether names may still decide `norm`.
    pub(super) fn is_open(&self, norm: NormId) -> bool {
        matches!(self.standing(norm), Standing::Open(_))
    }

    /// The norm that holds `weight`.
    pub(super) fn owner(&self, weight: WeightId) -> Option<NormId> {
        self.owners[weight.index()]
    }

    /// Whether no norm holds `weight` yet.
    pub(super) fn is_free(&self, weight: WeightId) -> bool {
        self.owner(weight).is_none()
    }

    /// Whether the history of `norm` is kept.
    pub(super) fn explains(&self, norm: NormId) -> bool {
        self.explained == Some(norm)
    }

    /// How the norm that is to be explained came to stand where it does: stages and what they found, in order.
    pub(super) fn history(&self) -> &[(&'static str, Finding)] {
        &self.history
    }
}
