//! Places in Rust code, by its syntax tree. The text is changed by position, so that its form stays.

use crate::macros;
use crate::site::{Edit, Kind, Site};
use proc_macro2::{LineColumn, Span};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Expr, FnArg, ImplItemFn, Item, ItemConst, ItemFn, ItemImpl, ItemMacro, ItemStatic, Lit,
    Meta, ReturnType, Signature, Token, TraitItemFn, Type,
};

/// What one file holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Places to change.
    pub(crate) sites: Vec<Site>,
    /// Environment variables that the code asks for by a literal.
    pub(crate) variables: BTreeSet<String>,
}

/// Finds the places of a file; none in one that is not understood. All in a build script are of one kind.
pub(crate) fn find(path: &Path, text: &str, is_build_script: bool) -> Found {
    // `syn` takes these off, and then positions are others.
    let shifted = text.starts_with("#!/") || text.starts_with('\u{feff}');
    let Some(file) = syn::parse_file(text).ok().filter(|_| !shifted) else {
        return Found::default();
    };
    let mut finder = Finder {
        path,
        text,
        only: is_build_script.then_some(Kind::BuildScript),
        inside: Vec::new(),
        generic: false,
        found: Found::default(),
    };
    finder.visit_file(&file);
    finder.found
}

/// Walks the tree of a file.
pub(crate) struct Finder<'a> {
    path: &'a Path,
    text: &'a str,
    /// The kind of everything in this file.
    only: Option<Kind>,
    /// Kinds that a place has because of what it is in.
    inside: Vec<Kind>,
    /// Whether the implementation around has type parameters.
    generic: bool,
    found: Found,
}

impl Finder<'_> {
    /// Returns the bytes of a span; `None` when it is not in this text.
    pub(crate) fn range(&self, span: Span) -> Option<Range<usize>> {
        let range = span.byte_range();
        self.text.get(range.clone()).map(|_| range)
    }

    /// Returns what is there; nothing when it is not in this text.
    pub(crate) fn text(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// Adds a place, of its own kind and of those that it is inside of.
    pub(crate) fn replace(&mut self, kind: Kind, span: Span, after: impl Into<String>) {
        let after = after.into();
        let Some(range) = self.range(span).filter(|range| !range.is_empty()) else {
            return;
        };
        let before = self.text[range.clone()].to_owned();
        self.add(
            kind,
            span.start(),
            (before, after.clone()),
            Edit::Replace(range, after.into()),
        );
    }

    fn insert(&mut self, kind: Kind, at: Span, shown: &str, after: &str) {
        if let Some(range) = self.range(at) {
            let shown = (shown.to_owned(), format!("{shown}{after}"));
            let edit = Edit::Replace(range.end..range.end, after.into());
            self.add(kind, at.start(), shown, edit);
        }
    }

    fn add(&mut self, kind: Kind, at: LineColumn, (before, after): (String, String), edit: Edit) {
        let kinds = match self.only {
            Some(kind) => vec![kind],
            None => [kind].into_iter().chain(self.inside.iter().copied()).collect(),
        };
        self.found.sites.extend(kinds.into_iter().map(|kind| Site {
            kind,
            path: self.path.to_owned(),
            line: at.line,
            before: before.clone(),
            after: after.clone(),
            edit: edit.clone(),
        }));
    }

    fn within(&mut self, kinds: impl IntoIterator<Item = Kind>, walk: impl FnOnce(&mut Self)) {
        let depth = self.inside.len();
        self.inside.extend(kinds);
        walk(self);
        self.inside.truncate(depth);
    }

    fn function(&mut self, attributes: &[Attribute], signature: &Signature, block: &syn::Block) {
        let is_inline = attributes.iter().any(|one| one.path().is_ident("inline"));
        let has_types = signature.generics.type_params().next().is_some()
            || signature
                .inputs
                .iter()
                .any(|input| matches!(input, FnArg::Typed(typed) if matches!(*typed.ty, Type::ImplTrait(_))));
        let kinds = [
            (is_inline, Kind::Inline),
            (has_types || self.generic, Kind::Generic),
            (signature.constness.is_some(), Kind::ConstFn),
        ];
        let kinds = kinds.into_iter().filter_map(|(is, kind)| is.then_some(kind));
        self.within(kinds, |finder| {
            finder.returns(signature, block);
            finder.visit_block(block);
        });
        self.case(attributes);
    }

    fn returns(&mut self, signature: &Signature, block: &syn::Block) {
        if block.stmts.is_empty() {
            return;
        }
        let shown = format!("fn {} {{", signature.ident);
        let default = " if true { return Default::default(); }";
        let early: &[&str] = match &signature.output {
            _ if signature.constness.is_some() => &[],
            ReturnType::Default => &[" if true { return; }"],
            ReturnType::Type(_, output) => match &**output {
                Type::Path(path) if path.path.is_ident("bool") => {
                    &[" if true { return true; }", " if true { return false; }"]
                }
                // It has no default value.
                Type::Path(path)
                    if path
                        .path
                        .segments
                        .last()
                        .is_some_and(|last| last.ident == "Result") =>
                {
                    &[]
                }
                Type::ImplTrait(_) | Type::Never(_) => &[],
                _ => &[default],
            },
        };
        for after in early.iter().chain(&[" if true { panic!(\"mutant\"); }"]) {
            self.insert(Kind::Return, block.brace_token.span.open(), &shown, after);
        }
    }

    /// The attributes of a case.
    fn case(&mut self, attributes: &[Attribute]) {
        let is =
            |one: &Attribute, name: &str| one.path().segments.last().is_some_and(|last| last.ident == name);
        let Some(test) = attributes.iter().find(|one| is(one, "test")) else {
            return;
        };
        for name in ["should_panic", "ignore"] {
            match attributes.iter().find(|one| is(one, name)) {
                Some(there) => self.replace(Kind::Attribute, there.span(), ""),
                None => self.insert(Kind::Attribute, test.span(), "#[test]", &format!(" #[{name}]")),
            }
        }
    }

    fn variable(&mut self, call: &syn::ExprCall) {
        let Expr::Path(function) = &*call.func else { return };
        let name = function.path.segments.last().map(|last| last.ident.to_string());
        let asks = name.is_some_and(|name| name == "var" || name == "var_os");
        if let Some(Expr::Lit(literal)) = call.args.first()
            && let Lit::Str(name) = &literal.lit
            && asks
        {
            self.found.variables.insert(name.value());
        }
    }
}

/// Whether code with these attributes is surely not built on this system.
fn is_elsewhere(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|one| {
        let Meta::List(list) = &one.meta else { return false };
        let text = list.tokens.to_string();
        list.path.is_ident("cfg")
            && !text.contains("not")
            && !text.contains("any")
            && ["windows", "macos", "wasm", "miri", "loom", "doc"]
                .iter()
                .any(|word| text.contains(word))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    // Docs are attributes, and types hold no values but lengths.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_generics(&mut self, _: &'ast syn::Generics) {}

    fn visit_item(&mut self, item: &'ast Item) {
        if !is_elsewhere(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_elsewhere(&item.attrs) {
            self.function(&item.attrs, &item.sig, &item.block);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.attrs, &item.sig, block);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let generic = std::mem::replace(&mut self.generic, item.generics.type_params().next().is_some());
        let kind = item.trait_.as_ref().map(|_| Kind::TraitImpl);
        self.within(kind, |finder| visit::visit_item_impl(finder, item));
        self.generic = generic;
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        self.within([Kind::Const], |finder| finder.visit_expr(&item.expr));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.within([Kind::Const], |finder| finder.visit_expr(&item.expr));
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        self.within([Kind::Static], |finder| finder.visit_expr(&item.expr));
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        match item.ident {
            Some(_) => macros::find(self, item.mac.tokens.clone()),
            None => self.visit_macro(&item.mac),
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        type Arguments = Punctuated<Expr, Token![,]>;
        if let Ok(arguments) = call.parse_body_with(Arguments::parse_terminated) {
            arguments.iter().for_each(|argument| self.visit_expr(argument));
        } else if let Ok(file) = call.parse_body::<syn::File>() {
            // Such as `thread_local!` and `cfg_if!` when they hold nothing but items.
            file.items.iter().for_each(|item| self.visit_item(item));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.variable(call);
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_match(&mut self, item: &'ast syn::ExprMatch) {
        for pair in item.arms.windows(2) {
            let [first, second] = pair else { continue };
            let ranges = (self.range(first.body.span()), self.range(second.body.span()));
            if let (Some(one), Some(other)) = ranges
                && self.text[one.clone()] != self.text[other.clone()]
            {
                let (one_text, other_text) = (&self.text[one.clone()], &self.text[other.clone()]);
                // Some arms have no comma behind them: a block needs none.
                let between = &self.text[one.end..other.start];
                let after = format!("{{ {other_text} }}{between}{{ {one_text} }}");
                let shown = (self.text[one.start..other.end].to_owned(), after.clone());
                let edit = Edit::Replace(one.start..other.end, after.into());
                self.add(Kind::Arms, first.body.span().start(), shown, edit);
            }
        }
        visit::visit_expr_match(self, item);
    }

    fn visit_bin_op(&mut self, operator: &'ast BinOp) {
        let Some(range) = self.range(operator.span()) else {
            return;
        };
        if let Some(other) = other_operator(self.text(range)) {
            self.replace(Kind::Operator, operator.span(), other);
        }
    }

    fn visit_lit(&mut self, literal: &'ast Lit) {
        let text = self
            .range(literal.span())
            .map(|range| self.text(range).to_owned());
        let change = match (literal, text) {
            (Lit::Bool(value), _) => Some((Kind::Boolean, (!value.value).to_string())),
            (Lit::Int(value), _) => one_more(value).map(|after| (Kind::Integer, after)),
            (Lit::Str(_) | Lit::ByteStr(_), Some(text)) => longer(&text).map(|after| (Kind::Text, after)),
            _ => None,
        };
        if let Some((kind, after)) = change {
            self.replace(kind, literal.span(), after);
        }
    }
}

/// Returns the operator that takes another's place.
pub(crate) fn other_operator(operator: &str) -> Option<&'static str> {
    const PAIRS: [(&str, &str); 13] = [
        ("+", "-"),
        ("*", "/"),
        ("%", "*"),
        ("<", "<="),
        (">", ">="),
        ("==", "!="),
        ("&&", "||"),
        ("+=", "-="),
        ("*=", "/="),
        ("<<", ">>"),
        ("&", "|"),
        ("&=", "|="),
        ("^", "|"),
    ];
    let there = PAIRS
        .iter()
        .find(|(one, _)| *one == operator)
        .map(|(_, other)| *other);
    there.or_else(|| {
        PAIRS
            .iter()
            .find(|(_, other)| *other == operator)
            .map(|(one, _)| *one)
    })
}

/// Returns a literal that is one more.
pub(crate) fn one_more(literal: &syn::LitInt) -> Option<String> {
    let value: u128 = literal.base10_parse().ok()?;
    Some(format!("{}{}", value.checked_add(1)?, literal.suffix()))
}

/// Returns a text literal with one character more at its end.
pub(crate) fn longer(literal: &str) -> Option<String> {
    let end = literal.rfind('"')?;
    Some(format!("{}~{}", &literal[..end], &literal[end..]))
}
