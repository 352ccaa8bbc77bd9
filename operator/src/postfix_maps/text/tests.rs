use super::*;

const SETTINGS: &str = include_str!("../../../../docs/replyfleet.toml");

/// The maps for these addresses, with these lines in `[postfix]`.
fn maps(catalogue: &[&str], postfix: &str) -> Result<Maps, String> {
    let settings = SETTINGS.replace("\n[postfix]\n", &format!("\n[postfix]\n{postfix}\n"));
    let settings = Settings::parse(&settings, "replyfleet.toml", |_| None).expect("valid settings");
    Maps::new(catalogue.iter().copied(), &settings)
}

fn without_head(text: &str) -> &str {
    text.strip_prefix(HEAD).expect("every map begins with its head")
}

#[test]
fn the_maps_hold_the_catalogue_and_the_bounce_address() {
    let maps = maps(&["get@example.org", "get@example.com", "get@example.org"], "").expect("maps");
    assert_eq!(without_head(&maps.addresses), "bounces@example.com ours\nget@example.com ours\nget@example.org ours\n");
    assert_eq!(without_head(&maps.domains), "example.com ours\nexample.org ours\n");
    assert_eq!(without_head(&maps.aliases), "");
    assert_eq!(maps.summary(), "3 addresses, 2 domains, 0 aliases");
}

#[test]
fn the_order_of_the_catalogue_changes_no_byte() {
    assert_eq!(maps(&["b@example.org", "a@example.org"], ""), maps(&["a@example.org", "b@example.org"], ""));
}

#[test]
fn a_domain_with_u_labels_is_there_in_both_spellings() {
    let maps = maps(&["get@xn--bcher-kva.example"], "").expect("maps");
    assert_eq!(without_head(&maps.addresses), "bounces@example.com ours\nget@bücher.example ours\nget@xn--bcher-kva.example ours\n");
    assert_eq!(without_head(&maps.domains), "bücher.example ours\nexample.com ours\nxn--bcher-kva.example ours\n");
}

#[test]
fn the_postmaster_gets_what_every_domain_must_take_unless_the_catalogue_or_an_alias_says_otherwise() {
    let postfix = "postmaster = \"ops@example.net\"\naliases = { \"abuse@example.org\" = [\"a@example.net\", \"b@example.net\"] }";
    let maps = maps(&["get@example.org", "postmaster@example.com"], postfix).expect("maps");
    assert_eq!(
        without_head(&maps.aliases),
        "abuse ops@example.net\nabuse@example.com ops@example.net\nabuse@example.org a@example.net, b@example.net\n\
         postmaster ops@example.net\npostmaster@example.org ops@example.net\nroot ops@example.net\n"
    );
}

#[test]
fn the_domain_of_an_alias_is_ours() {
    let maps = maps(&["get@example.com"], "aliases = { \"info@example.info\" = [\"a@example.net\"] }").expect("maps");
    assert_eq!(without_head(&maps.domains), "example.com ours\nexample.info ours\n");
    assert!(!maps.addresses.contains("info@"));
}

#[test]
fn an_alias_may_lead_to_an_address_of_the_catalogue() {
    let maps = maps(&["get@example.com"], "aliases = { \"please@example.com\" = [\"get@example.com\"] }").expect("maps");
    assert_eq!(without_head(&maps.aliases), "please@example.com get@example.com\n");
}

#[test]
fn what_contradicts_is_refused_with_place_and_remedy() {
    for (catalogue, postfix, wanted) in [
        (&[][..], "", "the catalogue has no address"),
        (&["#get@example.com"], "", "the catalogue: Postfix's maps cannot hold #get@example.com"),
        (&["get@example.com"], "aliases = { \"get@example.com\" = [\"a@example.net\"] }", "the catalogue answers this address"),
        (&["get@example.com"], "aliases = { \"x@example.com\" = [] }", "postfix.aliases, x@example.com: nobody would get its mail"),
        (&["get@example.com"], "aliases = { \"x@example.com\" = [\"nobody\"] }", "\"nobody\" must be an address"),
        (&["get@example.com"], "aliases = { \"x+y@example.com\" = [\"a@example.net\"] }", "without '+'"),
        (&["get@example.com"], "aliases = { \"x@example.com\" = [\"x@example.com\"] }", "x@example.com is an alias itself"),
        (&["get@example.com"], "postmaster = \"typo@example.com\"", "postfix.postmaster: nobody has typo@example.com"),
        (&["get@example.com"], "postmaster = \"postmaster@example.com\"", "postfix.postmaster: postmaster@example.com is an alias itself"),
        (&["get@example.com"], "postmaster = \"a@example.net, b@example.net\"", "must be an address"),
    ] {
        let error = maps(catalogue, postfix).expect_err(wanted);
        assert!(error.contains(wanted), "{error}");
    }
}
