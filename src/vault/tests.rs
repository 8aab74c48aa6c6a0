//! What sealing promises: a value opens in its own place and nowhere else.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::domain::id::SubscriberId;
use crate::domain::number::{RealNumber, Reveal};

fn vault() -> Vault {
    Vault::new(Arc::new(RootKey::ephemeral().expect("randomness"))).expect("a vault")
}

fn number(last: u16) -> RealNumber {
    RealNumber::parse(&format!("+861380000{last:04}")).expect("a valid number")
}

fn tenant_keys(vault: &Vault, tenant: TenantId) -> Arc<TenantKeys> {
    let sealed = vault.create_tenant_keys(tenant).expect("keys");
    vault.open_tenant(tenant, &sealed).expect("own keys")
}

#[test]
fn a_commitment_proves_a_number_to_whoever_has_the_key_and_differs_with_all_that_it_is_about() {
    let vault = vault();
    let (tenant, subscriber) = (TenantId::from_u128(1), SubscriberId::from_u128(2));
    let keys = |tenant| {
        let sealed = vault.create_tenant_keys(tenant).expect("keys");
        vault.open_tenant(tenant, &sealed).expect("opened")
    };
    let (one, other) = (keys(tenant), keys(TenantId::from_u128(4)));
    let commitment = one.commit_number(subscriber, 7, &number(1));
    assert_eq!(commitment, one.commit_number(subscriber, 7, &number(1)));
    for different in [
        one.commit_number(subscriber, 7, &number(2)),
        one.commit_number(subscriber, 8, &number(1)),
        one.commit_number(SubscriberId::from_u128(3), 7, &number(1)),
        other.commit_number(subscriber, 7, &number(1)),
    ] {
        assert_ne!(commitment, different);
    }
    assert_ne!(commitment.as_bytes()[..16], *one.lookup_hash(&number(1)).as_bytes());
}

#[test]
fn a_number_comes_back_as_it_went_in() {
    let vault = vault();
    let keys = tenant_keys(&vault, TenantId::new(1, 1));
    let subscriber = SubscriberId::new(1, 2);
    let sealed = keys.seal_number(subscriber, &number(7)).expect("sealed");
    assert_eq!(keys.open_number(subscriber, &sealed), Ok(number(7)));
}

#[test]
fn a_sealed_number_shows_neither_digits_nor_length() {
    let vault = vault();
    let keys = tenant_keys(&vault, TenantId::new(1, 1));
    let short = RealNumber::parse("+85212345").expect("a valid number");
    let one = keys.seal_number(SubscriberId::new(1, 1), &short).expect("sealed");
    let two = keys.seal_number(SubscriberId::new(1, 1), &number(1)).expect("sealed");
    assert_eq!(one.number.len(), two.number.len());
    assert!(!two.number.windows(4).any(|w| number(1).reveal(Reveal::Seal).as_bytes().ends_with(w)));
}

#[test]
fn two_tenants_hash_one_number_differently() {
    let vault = vault();
    let one = tenant_keys(&vault, TenantId::new(1, 1));
    let two = tenant_keys(&vault, TenantId::new(1, 2));
    assert_ne!(one.lookup_hash(&number(1)), two.lookup_hash(&number(1)));
    assert!(one.is_number(&number(1), one.lookup_hash(&number(1)).as_bytes()));
    assert!(!one.is_number(&number(1), two.lookup_hash(&number(1)).as_bytes()));
}

#[test]
fn another_root_key_opens_nothing() {
    let tenant = TenantId::new(1, 1);
    let sealed = vault().create_tenant_keys(tenant).expect("keys");
    assert_eq!(vault().open_tenant(tenant, &sealed).err(), Some(VaultError::CannotOpen));
}

#[test]
fn replaced_tenant_keys_are_not_answered_from_memory() {
    let vault = vault();
    let tenant = TenantId::new(1, 1);
    let old = tenant_keys(&vault, tenant);
    let new = tenant_keys(&vault, tenant);
    assert_ne!(old.lookup_hash(&number(1)), new.lookup_hash(&number(1)));
}

#[test]
fn a_later_suite_and_a_later_key_version_are_named() {
    let vault = vault();
    let tenant = TenantId::new(1, 1);
    let mut sealed = vault.create_tenant_keys(tenant).expect("keys");
    sealed.lookup[2] = 9;
    let opened = vault.open_tenant(tenant, &sealed).err();
    assert_eq!(opened, Some(VaultError::KeyVersionUnknown(9)));
    sealed.lookup[0] = 2;
    assert_eq!(vault.open_tenant(tenant, &sealed).err(), Some(VaultError::SuiteUnknown(2)));
    sealed.lookup.truncate(20);
    sealed.lookup[0] = 1;
    assert_eq!(vault.open_tenant(tenant, &sealed).err(), Some(VaultError::Malformed));
}

#[test]
fn a_kept_answer_opens_for_its_own_key_only() {
    let vault = vault();
    let tenant = TenantId::new(1, 1);
    let cell = Cell::of_answer(tenant, &[1; 32]);
    let sealed = vault.seal_answer(&cell, b"mk_live_once").expect("sealed");
    let opened = vault.open_answer(&cell, &sealed).expect("opened");
    assert_eq!(opened.as_slice(), b"mk_live_once");
    assert!(vault.open_answer(&Cell::of_answer(tenant, &[2; 32]), &sealed).is_err());
}

/// A cell of the store: the tenant and row it stands in, and which of the four columns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    tenant: u8,
    row: u8,
    column: Column,
}

fn place() -> impl Strategy<Value = Place> {
    let column = prop_oneof![
        Just(Column::TenantWrappingKey),
        Just(Column::TenantLookupKey),
        Just(Column::SubscriberKey),
        Just(Column::SubscriberNumber),
    ];
    (0_u8..3, 0_u8..3, column).prop_map(|(tenant, row, column)| Place { tenant, row, column })
}

fn cell(place: Place) -> Cell {
    let row = SubscriberId::from_u128(u128::from(place.row));
    Cell::of_subscriber(TenantId::from_u128(u128::from(place.tenant)), row, place.column)
}

proptest! {
    // One key for all cells: what fails to open fails because of its place alone.
    #[test]
    fn a_value_moved_to_another_cell_or_version_never_opens(
        from in place(), to in place(), from_version in 1_u16..3, to_version in 1_u16..3,
    ) {
        let key = SecretKey::from_bytes(&[7; 32]).expect("32 bytes");
        let seals = envelope::SealingKey::new(&key, from_version).expect("a key");
        let opens = envelope::SealingKey::new(&key, to_version).expect("a key");
        let mut sealed = seals.seal(&cell(from), b"+8613800000000\0\0").expect("sealed");
        // The version in front is changed too, as somebody with write access would.
        sealed[1..3].copy_from_slice(&to_version.to_be_bytes());
        let stays = from == to && from_version == to_version;
        prop_assert_eq!(opens.open(&cell(to), &sealed).is_ok(), stays);
    }

    #[test]
    fn numbers_swapped_between_rows_or_tenants_never_open(swap_key: bool, other_tenant: bool) {
        let vault = vault();
        let one = tenant_keys(&vault, TenantId::new(1, 1));
        let two = tenant_keys(&vault, TenantId::new(1, 2));
        let (mine, other) = (SubscriberId::new(1, 1), SubscriberId::new(1, 2));
        let here = one.seal_number(mine, &number(1)).expect("sealed");
        let there =
            if other_tenant { &two } else { &one }.seal_number(other, &number(2)).expect("sealed");
        let key = if swap_key { there.key } else { here.key };
        let moved = SealedNumber { number: there.number, key };
        prop_assert!(one.open_number(mine, &moved).is_err());
    }

    #[test]
    fn any_changed_byte_is_noticed(at in 0_usize..47, bit in 0_u8..8) {
        let vault = vault();
        let keys = tenant_keys(&vault, TenantId::new(1, 1));
        let mut sealed = keys.seal_number(SubscriberId::new(1, 1), &number(1)).expect("sealed");
        prop_assert_eq!(sealed.number.len(), 47);
        sealed.number[at] ^= 1 << bit;
        prop_assert!(keys.open_number(SubscriberId::new(1, 1), &sealed).is_err());
    }
}

/// A folder of this test alone.
fn folder(name: &str) -> std::path::PathBuf {
    let unique = random_u128().expect("randomness");
    let folder = std::env::temp_dir().join(format!("maskline-{name}-{unique:032x}"));
    std::fs::create_dir(&folder).expect("a folder");
    folder
}

#[test]
fn a_root_key_file_is_readable_by_its_owner_only_and_never_overwritten() {
    let folder = folder("root-key");
    let path = folder.join("root.key");
    let made = RootKey::create(&path).expect("a new key");
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode, 0o400);
    assert!(matches!(RootKey::create(&path), Err(RootKeyError::Exists(_))));

    let cell = Cell::of_tenant(TenantId::new(1, 1), Column::TenantLookupKey);
    let wrapped = made.wrap_key(&SecretKey::random().expect("a key"), &cell).expect("wrapped");
    let loaded = RootKey::load(&path).expect("the same key");
    assert!(loaded.open_key(&wrapped, &cell).is_ok());

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o440)).expect("chmod");
    let refused = RootKey::load(&path).expect_err("open to the group");
    assert!(matches!(refused, RootKeyError::Mode { mode: 0o440, .. }));
    assert!(refused.to_string().contains("chmod 0400"));
    std::fs::remove_dir_all(folder).expect("cleaned up");
}

#[test]
fn a_file_that_is_no_root_key_is_refused_without_showing_it() {
    let folder = folder("no-root-key");
    let path = folder.join("root.key");
    assert!(matches!(RootKey::load(&path), Err(RootKeyError::Missing(_))));
    for text in ["", "secret", "maskline-root-key 1 c2hvcnQ=", "maskline-root-key 0 x"] {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).expect("chmod");
        let refused = RootKey::load(&path).expect_err("no key inside");
        assert!(matches!(refused, RootKeyError::Malformed(_)), "{refused}");
        assert!(!refused.to_string().contains("secret"));
    }
    std::fs::remove_dir_all(folder).expect("cleaned up");
}

#[test]
fn each_purpose_has_a_key_of_its_own() {
    let root = RootKey::ephemeral().expect("randomness");
    let password = DatabaseRole::App.password(&root).expect("a password");
    assert_ne!(*password, *DatabaseRole::Relay.password(&root).expect("a password"));
    let verifier = DatabaseRole::App.verifier(&root).expect("a verifier");
    assert!(verifier.starts_with("SCRAM-SHA-256$4096:"));
    assert!(!verifier.contains(password.as_str()));
    assert_eq!(verifier, DatabaseRole::App.verifier(&root).expect("the same verifier"));
}
