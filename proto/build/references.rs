//! Writes how the references in a message are found: for each message of a kind, through all that is in it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

const DATUM: &str = "holdfast.v1.Datum";

/// Messages with data in them that is read and written by hand, and in which nobody looks for references but `Datum`.
const BY_HAND: [&str; 3] = [DATUM, "holdfast.v1.Sequence", "holdfast.v1.Map"];

/// `HasReferences` for every message of the package.
pub(crate) fn visitors(pool: &DescriptorPool) -> String {
    let messages: Vec<MessageDescriptor> = pool
        .all_messages()
        .filter(|m| m.package_name() == "holdfast.v1" && m.parent_message().is_none())
        .filter(|m| !BY_HAND.contains(&m.full_name()))
        .collect();
    messages.iter().map(visitor).collect()
}

fn visitor(message: &MessageDescriptor) -> String {
    let (mut visit, mut change) = (String::new(), String::new());
    for field in message.fields().filter(|field| field.containing_oneof().is_none() && has_data(field)) {
        let name = field.name();
        if field.is_list() {
            writeln!(visit, "for part in &self.{name} {{ part.visit_references(visit); }}").expect("a String grows");
            writeln!(change, "for part in &mut self.{name} {{ part.change_references(change)?; }}")
                .expect("a String grows");
        } else {
            writeln!(visit, "if let Some(part) = &self.{name} {{ part.visit_references(visit); }}")
                .expect("a String grows");
            writeln!(change, "if let Some(part) = &mut self.{name} {{ part.change_references(change)?; }}")
                .expect("a String grows");
        }
    }
    for oneof in message.oneofs() {
        let module = crate::snake(message.name());
        for field in oneof.fields().filter(has_data) {
            let (name, variant) = (oneof.name(), pascal(field.name()));
            let variant = format!("{module}::{}::{variant}", pascal(name));
            writeln!(visit, "if let Some({variant}(part)) = &self.{name} {{ part.visit_references(visit); }}")
                .expect("a String grows");
            writeln!(change, "if let Some({variant}(part)) = &mut self.{name} {{ part.change_references(change)?; }}")
                .expect("a String grows");
        }
    }
    if !change.is_empty() {
        change.push_str("Ok(())");
    }
    implementation(message.name(), &visit, &change, "")
}

/// `HasReferences` for `name`. The bodies are in braces that follow `before`; empty where there is nothing to look at.
pub(crate) fn implementation(name: &str, visit: &str, change: &str, before: &str) -> String {
    let body = |body: &str| if before.is_empty() { body.to_owned() } else { format!("{before} {{ {body} }}") };
    let (visit, change) = if change.is_empty() {
        ("let _ = visit;".to_owned(), "let _ = change;\nOk(())".to_owned())
    } else {
        (body(visit), body(change))
    };
    format!(
        "impl crate::datum::HasReferences for {name} {{
            #[inline]
            fn visit_references(&self, visit: &mut dyn FnMut(&crate::datum::Reference)) {{ {visit} }}
            #[inline]
            fn change_references<E>(
                &mut self,
                change: &mut dyn FnMut(&mut crate::datum::Reference) -> Result<(), E>,
            ) -> Result<(), E> {{ {change} }}
        }}\n"
    )
}

fn has_data(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if contains_data(&message, &mut BTreeSet::new()))
}

fn contains_data(message: &MessageDescriptor, seen: &mut BTreeSet<String>) -> bool {
    message.full_name() == DATUM
        || seen.insert(message.full_name().to_owned())
            && message.fields().any(|field| matches!(field.kind(), Kind::Message(inner) if contains_data(&inner, seen)))
}

/// As prost names the variants of a oneof.
fn pascal(name: &str) -> String {
    name.split('_').filter_map(|word| word.split_at_checked(1)).fold(String::new(), |mut out, (first, rest)| {
        out.push_str(&first.to_ascii_uppercase());
        out.push_str(rest);
        out
    })
}
