//! A set of flows, mappings and lookups, read and checked together: nothing unchecked leaves here.
//!
//! A file holds one document. A merchant's own documents are *overrides*: with `extends: NAME` they
//! change single fields, values or steps of a template and leave the rest to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::check::{Problem, did_you_mean, sorted};
use crate::flow::{Flow, Known};
use crate::ids::FlowHash;
use crate::lookup::{Lookup, Lookups};
use crate::mapping::Mapping;
use crate::merge::{Docs, Kind};
use crate::scope::{Domain, Scope};
use crate::value::{ActionSpec, Schema, Type};
use crate::yaml::Node;

/// Everything flows and mappings can name.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// The actions of every connector.
    pub actions: Vec<&'static ActionSpec>,
    /// The top-level names conditions and mappings read.
    pub base: &'static Schema,
    /// The objects of `for-each`: name and schema.
    pub objects: Vec<(&'static str, &'static Schema)>,
    /// The facts of `await`, with a line for people.
    pub awaits: Vec<(&'static str, &'static str)>,
    /// The enumerations: name and members.
    pub enums: Vec<(&'static str, &'static [&'static str])>,
    /// Which text fields hold an enumeration: `schema.field` (for parameters the name of the action's
    /// parameter schema) and the enumeration's name. Literals compared with such a field, constants
    /// and lookups into it are checked.
    pub domains: Vec<(&'static str, &'static str)>,
}

impl Vocabulary {
    /// An enumeration by name.
    #[must_use]
    pub fn enumeration(&self, name: &str) -> Option<Domain> {
        self.enums.iter().find(|(n, _)| *n == name).copied()
    }

    /// The scope of conditions that are about no object.
    #[must_use]
    pub fn base_scope(&self) -> Scope {
        self.scope(None, &mut Vec::new()).unwrap_or_default()
    }

    /// The scope of conditions and mappings: the base, and one object.
    pub(crate) fn scope(&self, object: Option<(&Node, &str)>, problems: &mut Vec<Problem>) -> Option<Scope> {
        let domains = self.domains.iter().filter_map(|(field, name)| Some((*field, self.enumeration(name)?)));
        let scope = Scope::of(self.base).domains(domains);
        let Some((at, name)) = object else { return Some(scope) };
        if let Some((name, schema)) = self.objects.iter().find(|(n, _)| *n == name) {
            return Some(scope.with(name, Type::Record(schema)));
        }
        let hint = did_you_mean(name, self.objects.iter().map(|(n, _)| *n));
        problems.push(at.problem("unknown-object", format!("there is no object `{name}`"), hint));
        None
    }

    /// An action by name, or a problem that names the nearest and those of the same system.
    pub(crate) fn action(
        &self,
        name: &str,
        at: &Node,
        problems: &mut Vec<Problem>,
    ) -> Option<&'static ActionSpec> {
        if let Some(found) = self.actions.iter().find(|a| a.name == name) {
            return Some(found);
        }
        let system = name.split_once('.').map_or(name, |(system, _)| system);
        let of_system = |a: &&str| a.split_once('.').is_some_and(|(s, _)| s == system);
        let near = did_you_mean(name, self.actions.iter().map(|a| a.name));
        let same: Vec<&str> = self.actions.iter().map(|a| a.name).filter(of_system).collect();
        let hint = match same.as_slice() {
            [] => near,
            some if near.starts_with("known") => format!("actions of {system}: {}", some.join(", ")),
            some => format!("{near} actions of {system}: {}", some.join(", ")),
        };
        problems.push(at.problem("unknown-action", format!("unknown action `{name}`"), hint));
        None
    }
}

/// A file as read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, for messages.
    pub file: String,
    /// What it holds.
    pub text: String,
}

/// Checked flows, mappings and lookups.
#[derive(Debug, Clone, Default)]
pub struct Bundle {
    flows: BTreeMap<String, Arc<Flow>>,
    mappings: BTreeMap<String, Mapping>,
    lookups: Lookups,
    canonical: BTreeMap<String, String>,
}

impl Bundle {
    /// Reads, merges and checks.
    ///
    /// # Errors
    /// Every problem found, by file and line.
    pub fn load(
        templates: &[Source],
        overrides: &[Source],
        vocab: &Vocabulary,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let docs = Docs::read(templates, overrides, &mut problems);
        Self::check(&docs, vocab, problems)
    }

    fn check(docs: &Docs, vocab: &Vocabulary, mut problems: Vec<Problem>) -> Result<Self, Vec<Problem>> {
        let mut lookups = Lookups::new();
        for (name, node) in docs.of(Kind::Lookup) {
            lookups.insert(name.to_owned(), Lookup::compile(name, node, vocab, &mut problems));
        }
        let mut mappings = BTreeMap::new();
        for (name, node) in docs.of(Kind::Mapping) {
            if let Some(mapping) = Mapping::compile(name, node, vocab, &lookups, &mut problems) {
                mappings.insert(name.to_owned(), mapping);
            }
        }
        let mapping_names: Vec<String> = docs.of(Kind::Mapping).map(|(name, _)| name.to_owned()).collect();
        let known = Known { vocab, mappings: &mappings, mapping_names: &mapping_names };
        let mut flows: Vec<Flow> = Vec::new();
        for (name, node) in docs.of(Kind::Flow) {
            flows.push(Flow::compile(name, node, &known, &mut problems));
        }
        if !problems.is_empty() {
            return Err(sorted(problems));
        }
        let mut bundle = Self { mappings, lookups, ..Self::default() };
        for mut flow in flows {
            let text = bundle.write(&flow, docs);
            flow.hash = FlowHash::new(hex::encode(Sha256::digest(text.as_bytes())));
            bundle.canonical.insert(flow.name.clone(), text);
            bundle.flows.insert(flow.name.clone(), Arc::new(flow));
        }
        Ok(bundle)
    }

    /// The merged documents of a flow and all it uses, as JSON, in a fixed order.
    fn write(&self, flow: &Flow, docs: &Docs) -> String {
        let mut mappings: Vec<&str> = flow.steps.iter().filter_map(|s| s.mapping.as_deref()).collect();
        mappings.sort_unstable();
        mappings.dedup();
        let used = mappings.iter().filter_map(|m| self.mappings.get(*m)).flat_map(|m| &m.lookups);
        let mut lookups: Vec<&str> = used.map(String::as_str).collect();
        lookups.sort_unstable();
        lookups.dedup();
        let names = std::iter::once((Kind::Flow, flow.name.as_str()))
            .chain(mappings.into_iter().map(|m| (Kind::Mapping, m)))
            .chain(lookups.into_iter().map(|l| (Kind::Lookup, l)));
        let parts = names.filter_map(|(kind, name)| docs.get(kind, name)).map(Node::to_json).collect();
        serde_json::Value::Array(parts).to_string()
    }

    /// Reads what [`Bundle::canonical`] wrote: one flow with its mappings and lookups, checked against
    /// today's vocabulary.
    ///
    /// # Errors
    /// Every problem found, e.g. an action that no longer exists.
    pub fn from_canonical(text: &str, vocab: &Vocabulary) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let docs = Docs::from_canonical(text, &mut problems);
        Self::check(&docs, vocab, problems)
    }

    /// A flow.
    #[must_use]
    pub fn flow(&self, name: &str) -> Option<&Arc<Flow>> {
        self.flows.get(name)
    }
    /// All flows, by name.
    pub fn flows(&self) -> impl Iterator<Item = &Arc<Flow>> {
        self.flows.values()
    }
    /// A mapping.
    #[must_use]
    pub fn mapping(&self, name: &str) -> Option<&Mapping> {
        self.mappings.get(name)
    }
    /// All mappings, by name.
    pub fn mappings(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.values()
    }
    /// A lookup.
    #[must_use]
    pub fn lookup(&self, name: &str) -> Option<&Lookup> {
        self.lookups.get(name)
    }
    /// All lookups, as [`Mapping::apply`] takes them.
    #[must_use]
    pub const fn lookups(&self) -> &Lookups {
        &self.lookups
    }
    /// The hash of a flow with every mapping and lookup it uses.
    #[must_use]
    pub fn hash_of(&self, flow: &str) -> Option<&FlowHash> {
        self.flows.get(flow).map(|f| &f.hash)
    }
    /// A text from which [`Bundle::from_canonical`] rebuilds the flow with all it uses, same hash included.
    #[must_use]
    pub fn canonical(&self, flow: &str) -> Option<&str> {
        self.canonical.get(flow).map(String::as_str)
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
