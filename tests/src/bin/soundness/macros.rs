//! Places in the bodies of `macro_rules!`, by tokens: a body is no syntax tree yet.

use crate::rust::{Finder, longer, one_more, other_operator};
use crate::site::Kind;
use proc_macro2::{Delimiter, Group, Literal, Punct, Spacing, TokenStream, TokenTree};

/// Finds the places in what stands behind each `=>`.
pub(crate) fn find(finder: &mut Finder<'_>, rules: TokenStream) {
    let mut arrow = false;
    let mut last = ' ';
    for token in rules {
        match &token {
            TokenTree::Group(body) if arrow => walk(finder, body),
            TokenTree::Punct(punct) => {
                arrow = last == '=' && punct.as_char() == '>';
                last = punct.as_char();
                continue;
            }
            _ => {}
        }
        (arrow, last) = (false, ' ');
    }
}

fn walk(finder: &mut Finder<'_>, body: &Group) {
    let tokens: Vec<TokenTree> = body.stream().into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let previous = index.checked_sub(1).map(|index| &tokens[index]);
        match token {
            TokenTree::Group(group) if !is_attribute(previous, group) => walk(finder, group),
            TokenTree::Literal(literal) => one_literal(finder, literal),
            TokenTree::Ident(word) if word == "true" => finder.replace(Kind::Macro, word.span(), "false"),
            TokenTree::Ident(word) if word == "false" => finder.replace(Kind::Macro, word.span(), "true"),
            TokenTree::Punct(punct) if !matches!(previous, Some(TokenTree::Punct(before)) if before.spacing() == Spacing::Joint) =>
            {
                operator(finder, punct, tokens.get(index + 1));
            }
            _ => {}
        }
    }
}

fn is_attribute(previous: Option<&TokenTree>, group: &Group) -> bool {
    group.delimiter() == Delimiter::Bracket
        && matches!(previous, Some(TokenTree::Punct(punct)) if matches!(punct.as_char(), '#' | '!'))
}

fn one_literal(finder: &mut Finder<'_>, literal: &Literal) {
    let text = literal.to_string();
    let after = match text.chars().next() {
        Some('"' | 'b' | 'r') => longer(&text),
        Some('0'..='9') => syn::parse_str(&text).ok().and_then(|number| one_more(&number)),
        _ => None,
    };
    if let Some(after) = after {
        finder.replace(Kind::Macro, literal.span(), after);
    }
}

/// An operator between spaces: one without may be a repetition's, a pattern's or a type's.
fn operator(finder: &mut Finder<'_>, first: &Punct, next: Option<&TokenTree>) {
    let span = match next {
        Some(TokenTree::Punct(second)) if first.spacing() == Spacing::Joint => {
            first.span().join(second.span())
        }
        _ => Some(first.span()),
    };
    let Some((span, range)) = span.and_then(|span| Some((span, finder.range(span)?))) else {
        return;
    };
    let spaced = range.start > 0 && {
        let around = finder.text(range.start - 1..range.end + 1);
        around.starts_with(' ') && around.ends_with(' ')
    };
    let other = other_operator(finder.text(range)).filter(|_| spaced);
    if let Some(other) = other {
        finder.replace(Kind::Macro, span, other);
    }
}
