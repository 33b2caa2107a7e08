//! The attribute `#[holdfast::function]`. Its documentation is where users find it: in the library.

use proc_macro::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Error, FnArg, ItemFn, LitStr, Result, Token, parse_macro_input};

/// Registers a function, so that other processes can be asked to run it.
#[proc_macro_attribute]
pub fn function(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let Named(name) = parse_macro_input!(arguments as Named);
    let item = parse_macro_input!(item as ItemFn);
    registered(name, &item).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// What the attribute says: nothing, or `name = "..."`.
struct Named(Option<LitStr>);

impl Parse for Named {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self(None));
        }
        let key: syn::Ident = input.parse()?;
        if key != "name" {
            return Err(Error::new(key.span(), "say #[holdfast::function] or #[holdfast::function(name = \"...\")]"));
        }
        input.parse::<Token![=]>()?;
        let name: LitStr = input.parse()?;
        if name.value().is_empty() {
            return Err(Error::new(name.span(), "the name of a function is not empty"));
        }
        Ok(Self(Some(name)))
    }
}

fn registered(name: Option<LitStr>, item: &ItemFn) -> Result<proc_macro2::TokenStream> {
    let signature = &item.sig;
    if let Some(asyncness) = &signature.asyncness {
        let problem = "a process runs a function to its end: make it a plain one, which may build a runtime of its own";
        return Err(Error::new(asyncness.span, problem));
    }
    if let Some(generic) = signature.generics.params.first() {
        let problem = "another process cannot know the types that a caller means: write out what it is called with";
        return Err(Error::new_spanned(generic, problem));
    }
    if let Some(receiver @ FnArg::Receiver(_)) = signature.inputs.first() {
        return Err(Error::new_spanned(receiver, "a method has no name that processes share: make it a function"));
    }
    let function = &signature.ident;
    let name = name.unwrap_or_else(|| LitStr::new(&function.to_string(), function.span()));
    Ok(quote! {
        #item

        const _: () = {
            const ITEM: &dyn ::holdfast::__private::Callable = &::holdfast::__private::Item::new(#function);
            ::holdfast::__private::inventory::submit! {
                ::holdfast::__private::Registered::new(#name, ::core::file!(), ::core::line!(), ITEM)
            }
        };
    })
}
