//! 2 PLAN, propose: the module tree.
//!
//! In: the inventory's paths. Out: a [`Tree`] of scopes, with the norms and weights at its leaves, a template for every
//! path (numbers replaced by `#`: all instances of a repeated block share it), and for every module its *end*: the weight
//! whose output is the module's output, where names and shapes tell.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::separable;
use super::tokens::{Place, Segment, without_counter};
use crate::network::{Inventory, NormId, WeightId};
use crate::plan::rulebook::{Rule, Rulebook};

/// Index of a node.
pub(in crate::plan) type Id = usize;

/// The tree's root.
pub(in crate::plan) const ROOT: Id = 0;

/// No more modules than this are looked at for one norm: so many say nothing.
pub(in crate::plan) const MAX_FOUND: usize = 32;

/// Segments that PyTorch puts into paths when it compiles, shards or checkpoints a module (`torch.compile`,
/// `torch.distributed`): the module is the one around.
const WRAPPERS: &[&str] = &["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// A module: a scope, a norm or a layer with weights.
pub(in crate::plan) struct Node<'a> {
    pub(in crate::plan) name: &'a str,
    pub(in crate::plan) segment: Segment,
    pub(in crate::plan) parent: Id,
    pub(in crate::plan) children: BTreeMap<&'a str, Id>,
    pub(in crate::plan) norm: Option<NormId>,
    pub(in crate::plan) weights: Vec<WeightId>,
    /// Equal for all paths that differ in numbers only.
    pub(in crate::plan) template: usize,
    /// Equal for all paths that differ in numbers only, and not in the last segment.
    pub(in crate::plan) slot: usize,
    /// The weight whose output leaves this module.
    pub(in crate::plan) end: Option<WeightId>,
    /// In a scope that holds a depthwise layer, one other layer and at most one norm: the one of the two that comes last.
    pub(in crate::plan) last_of_separable: Option<Id>,
    /// Norms in this module and below.
    pub(in crate::plan) norms_below: usize,
    /// Whether a layer or block in this scope says that it comes before something.
    pub(in crate::plan) holds_before: bool,
}

/// All modules of a checkpoint.
pub(in crate::plan) struct Tree<'a> {
    pub(in crate::plan) nodes: Vec<Node<'a>>,
    /// The innermost scope that holds everything: prefixes such as `module.` mean nothing.
    pub(in crate::plan) top: Id,
    book: Rulebook,
    /// Node of every norm.
    norm_nodes: Vec<Id>,
    /// Modules that do not call themselves norms, by scope and key.
    by_key: BTreeMap<(Id, String), Vec<Id>>,
}

impl<'a> Tree<'a> {
    pub(in crate::plan) fn new(inventory: &'a Inventory, book: Rulebook) -> Tree<'a> {
        let (nodes, norm_nodes, by_key) = (vec![node("", ROOT, 0, 0)], Vec::new(), BTreeMap::new());
        let mut tree = Tree { nodes, top: ROOT, book, norm_nodes, by_key };
        let mut templates = HashMap::new();
        for (index, weight) in inventory.weights.iter().enumerate() {
            let id = tree.insert(&weight.module, &mut templates);
            tree.nodes[id].weights.push(WeightId::new(index));
        }
        for (index, norm) in inventory.norms.iter().enumerate() {
            let id = tree.insert(&norm.name, &mut templates);
            tree.nodes[id].norm = Some(NormId::new(index));
            tree.norm_nodes.push(id);
        }
        while let (1, Some(&only)) =
            (tree.nodes[tree.top].children.len(), tree.nodes[tree.top].children.values().next())
        {
            tree.top = only;
        }
        // Children have larger ids than their parents.
        for id in (0..tree.nodes.len()).rev() {
            tree.nodes[id].norms_below = usize::from(tree.nodes[id].norm.is_some())
                + tree.nodes[id].children.values().map(|&child| tree.nodes[child].norms_below).sum::<usize>();
        }
        if book.has(Rule::SeparableScope) {
            separable::find(&mut tree.nodes, inventory, book);
        }
        for id in (0..tree.nodes.len()).rev() {
            tree.nodes[id].end = tree.find_end(inventory, id);
            let node = &tree.nodes[id];
            if node.norm.is_none() && !node.segment.norm && id != ROOT {
                let (scope, before) = (node.parent, node.segment.before);
                tree.by_key.entry((scope, node.segment.key.clone())).or_default().push(id);
                tree.nodes[scope].holds_before |= before;
            }
        }
        tree
    }

    /// Modules of `scope` that do not call themselves norms and have this key.
    pub(in crate::plan) fn with_key(&self, scope: Id, key: &str) -> &[Id] {
        self.by_key.get(&(scope, key.to_owned())).filter(|found| found.len() <= MAX_FOUND).map_or(&[], Vec::as_slice)
    }

    /// Modules of `scope` that do not call themselves norms and whose key begins with this one. In `conv1x3` the number is
    /// a kernel's; and where the key ends in a number, another one behind it counts something else: the norm of
    /// `adjust_conv_1_5`, the first of two, is not the first norm, `adjust_bn_1`.
    pub(in crate::plan) fn with_key_beginning(&self, scope: Id, key: &str) -> Vec<Id> {
        let (from, to) = (format!("{key}."), format!("{key}/"));
        let kernel = format!("{key}.x.");
        let is_number = |token: &str| token.bytes().all(|byte| byte.is_ascii_digit());
        let is_numbered = key.rsplit('.').next().is_some_and(is_number);
        let counts_on = |found: &str| {
            let mut rest = found[from.len()..].split('.');
            // `conv1_1x1` says a kernel.
            is_numbered && rest.next().is_some_and(is_number) && rest.next() != Some("x")
        };
        let range = self.by_key.range((scope, from.clone())..(scope, to));
        let found = range.filter(|((_, found), _)| !found.starts_with(&kernel) && !counts_on(found));
        let found = found.flat_map(|(_, ids)| ids.iter().copied());
        found.take(MAX_FOUND).collect()
    }

    pub(in crate::plan) fn child(&self, id: Id, name: &str) -> Option<Id> {
        self.nodes[id].children.get(name).copied()
    }

    /// The other modules in the scope of `id`, by name.
    pub(in crate::plan) fn siblings(&self, id: Id) -> impl Iterator<Item = Id> + '_ {
        self.nodes[self.nodes[id].parent].children.values().copied().filter(move |&other| other != id)
    }

    /// The counters of the modules of a scope that share a template.
    pub(in crate::plan) fn counters(&self, scope: Id, shared: &str) -> BTreeSet<Option<Place>> {
        let alike = self.nodes[scope].children.iter().filter(|(name, _)| without_counter(name) == shared);
        alike.map(|(_, &child)| self.nodes[child].segment.place).collect()
    }

    pub(in crate::plan) fn norm_node(&self, norm: NormId) -> Id {
        self.norm_nodes[norm.index()]
    }

    /// The norm's module without shells: scopes that hold this norm and nothing else, and say no more than the norm does
    /// (`norm.norm`, `bn1.bn`). What `ibn.batch_norm` or `post_activ.bn` hold besides, or follow, the file does not tell;
    /// a list of one (`bns.0`) is a list.
    pub(in crate::plan) fn site(&self, norm: NormId) -> Id {
        let mut id = self.norm_nodes[norm.index()];
        loop {
            let parent = self.nodes[id].parent;
            let (shell, segment) = (&self.nodes[parent], &self.nodes[parent].segment);
            match self.nodes[id].segment.index {
                // `norm_b.0` in front of what an `nn.Sequential` named `norm_b` runs behind the norm.
                Some(0) if self.opens_norm(parent) => {
                    id = parent;
                    continue;
                }
                Some(_) => return id,
                None => {}
            }
            let plain = segment.norm && segment.key.bytes().all(|byte| byte.is_ascii_digit());
            match self.book.has(Rule::NormShell)
                && parent != ROOT
                && plain
                && shell.children.len() == 1
                && shell.weights.is_empty()
            {
                true => id = parent,
                false => return id,
            }
        }
    }

    /// Whether a module that calls itself a norm runs one norm and something else behind it, one after the other. A plural
    /// names a list, whose members may each have their own layer.
    fn opens_norm(&self, scope: Id) -> bool {
        let Node { name, segment, norms_below, children, .. } = &self.nodes[scope];
        let is_list = name.ends_with(['s', 'S']) || children.len() == 1;
        self.book.has(Rule::NormOpens) && segment.norm && segment.index.is_none() && *norms_below == 1 && !is_list
    }

    fn insert(&mut self, path: &'a str, templates: &mut HashMap<(usize, String), usize>) -> Id {
        let mut id = ROOT;
        for name in path.split(['/', '.']).filter(|name| !name.is_empty() && !WRAPPERS.contains(name)) {
            id = match self.child(id, name) {
                Some(child) => child,
                None => {
                    let mut intern = |name: String| {
                        let next = templates.len() + 1;
                        *templates.entry((self.nodes[id].template, name)).or_insert(next)
                    };
                    // A mark that no path holds keeps slots apart from templates.
                    let (template, slot) = (intern(without_counter(name)), intern(format!("={name}")));
                    let child = self.nodes.len();
                    self.nodes.push(node(name, id, template, slot));
                    self.nodes[id].children.insert(name, child);
                    child
                }
            };
        }
        id
    }

    fn find_end(&self, inventory: &Inventory, id: Id) -> Option<WeightId> {
        let node = &self.nodes[id];
        match (node.norm, &node.weights[..], node.children.len()) {
            (None, &[weight], 0) => Some(weight),
            (None, &[weight], 1) if node.norms_below == 1 => Some(weight),
            // Keras' SeparableConv: the pointwise kernel comes last.
            (None, weights @ [_, _], children) if children == node.norms_below && children < 2 => {
                weights.iter().copied().find(|&w| inventory[w].kind.depthwise.is_none())
            }
            (None, [], 1) => self.shell(inventory, id),
            (None, [], _) => self.last_of_sequence(id).or_else(|| self.separable(id)),
            _ => None,
        }
    }

    /// The convolution in a shell, as where padding is worked out (`conv1.conv`). What else wraps a single layer may add its
    /// input (`fn`), hold an activation behind it (`0.0`, an inner `nn.Sequential`), or sum over neighbours (`conv1.lin`, in
    /// networks on graphs). A bias, useless before a norm, makes an activation in the shell likelier.
    fn shell(&self, inventory: &Inventory, id: Id) -> Option<WeightId> {
        let child = &self.nodes[*self.nodes[id].children.values().next()?];
        // `conv.1` in a module that calls itself a convolution: what comes before it, without weights, pads or enlarges.
        let is_numbered = self.nodes[id].segment.layer && child.segment.index.is_some_and(|index| index > 0);
        let weight = &inventory[child.end.filter(|_| child.segment.layer || is_numbered)?];
        let plain = weight.shape.len() > 2 && (self.nodes[id].segment.layer && !is_numbered || !weight.bias_exists);
        child.end.filter(|_| plain && self.book.has(Rule::LayerShell))
    }

    /// The last layer of a separable convolution in a scope of its own.
    fn separable(&self, id: Id) -> Option<WeightId> {
        let last = self.nodes[id].last_of_separable.filter(|_| self.nodes[id].norms_below == 0)?;
        self.nodes[last].end
    }

    /// The last module of an `nn.Sequential`, if it is a weight that lacks the norm which all weights before it have, as
    /// the last of a stem of three. Without a norm inside an activation may come last, or the weights be parallel.
    fn last_of_sequence(&self, id: Id) -> Option<WeightId> {
        let children = self.nodes[id].children.values().copied();
        let mut numbered =
            children.map(|child| Some((self.nodes[child].segment.index?, child))).collect::<Option<Vec<_>>>()?;
        numbered.sort_unstable();
        let (&(_, last), before) = numbered.split_last()?;
        let norm_at = |place: u64| before.iter().any(|&(at, child)| at == place && self.nodes[child].norm.is_some());
        let mut weights = before.iter().filter(|(_, child)| self.nodes[*child].norm.is_none());
        let normed =
            !before.is_empty() && weights.all(|&(at, child)| self.nodes[child].norms_below > 0 || norm_at(at + 1));
        self.nodes[last].end.filter(|_| normed && self.book.has(Rule::LastOfSequence))
    }
}

/// The only weight in a module and below.
pub(in crate::plan) fn sole_weight(nodes: &[Node<'_>], mut id: Id) -> Option<WeightId> {
    loop {
        let node = &nodes[id];
        match (&node.weights[..], node.children.len()) {
            (&[weight], 0) => return Some(weight),
            ([], 1) => id = *node.children.values().next()?,
            _ => return None,
        }
    }
}

fn node(name: &str, parent: Id, template: usize, slot: usize) -> Node<'_> {
    Node {
        name,
        segment: Segment::read(name),
        parent,
        children: BTreeMap::new(),
        norm: None,
        weights: Vec::new(),
        template,
        slot,
        end: None,
        last_of_separable: None,
        norms_below: 0,
        holds_before: false,
    }
}
