//! What a real number costs: sealing, opening and finding one.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use maskline::domain::id::{SubscriberId, TenantId};
use maskline::domain::number::RealNumber;
use maskline::vault::{RootKey, Vault};

fn numbers(criterion: &mut Criterion) {
    let root = RootKey::ephemeral().expect("randomness");
    let vault = Vault::new(Arc::new(root)).expect("a vault");
    let tenant = TenantId::new(1, 1);
    let sealed_keys = vault.create_tenant_keys(tenant).expect("keys");
    let keys = vault.open_tenant(tenant, &sealed_keys).expect("own keys");
    let number = RealNumber::parse("+8613800000001").expect("a valid number");
    let subscriber = SubscriberId::new(1, 1);
    let sealed = keys.seal_number(subscriber, &number).expect("sealed");
    criterion.bench_function("open a number, keys in memory", |bench| {
        bench.iter(|| {
            let keys = vault.open_tenant(tenant, black_box(&sealed_keys)).expect("own keys");
            keys.open_number(subscriber, black_box(&sealed)).expect("opened")
        });
    });
    criterion.bench_function("seal a number under a new key", |bench| {
        bench.iter(|| keys.seal_number(subscriber, black_box(&number)).expect("sealed"));
    });
    criterion.bench_function("hash a number for lookup", |bench| {
        bench.iter(|| keys.lookup_hash(black_box(&number)));
    });
}

criterion_group!(benches, numbers);
criterion_main!(benches);
