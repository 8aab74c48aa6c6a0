//! The embedded PostgreSQL: start, stop, death of the parent, and everything that is refused.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use maskline::store::embedded::{Cluster, Durability, EmbeddedConfig, EmbeddedError};
use sqlx::{ConnectOptions as _, Connection as _};

/// A folder of one test, removed at its end.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("maskline-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn config(&self) -> EmbeddedConfig {
        EmbeddedConfig {
            folder: self.0.clone(),
            bin_dir: None,
            connections_max: 5,
            durability: Durability::ThrowAway,
        }
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn data_outlives_a_stop_and_a_second_instance_is_told_so() {
    let folder = TestFolder::new("restart");
    let cluster = Cluster::start(folder.config()).await.expect("a new cluster");
    let second = Cluster::start(folder.config()).await.expect_err("the folder is locked");
    assert!(matches!(second, EmbeddedError::InUse(_)));
    assert!(second.to_string().contains("another maskline runs on"), "{second}");

    let mut owner = cluster.owner().connect().await.expect("the owner connects");
    sqlx::query("create table kept (id integer)").execute(&mut owner).await.expect("a table");
    owner.close().await.expect("closed");
    cluster.stop().await;
    assert!(!folder.0.join("data/postmaster.pid").exists(), "a clean shutdown");

    let cluster = Cluster::start(folder.config()).await.expect("the same cluster");
    let mut owner = cluster.owner().connect().await.expect("the owner connects");
    sqlx::query("select id from kept").fetch_all(&mut owner).await.expect("the table is there");
    drop(owner);
    cluster.stop().await;
}

#[tokio::test]
async fn a_folder_of_another_major_version_names_the_ways_out() {
    let folder = TestFolder::new("version");
    std::fs::create_dir_all(folder.0.join("data")).expect("a folder");
    std::fs::write(folder.0.join("data/PG_VERSION"), "9\n").expect("a version");
    let refused = Cluster::start(folder.config()).await.expect_err("another version");
    assert!(matches!(refused, EmbeddedError::OtherVersion { made_by: 9, .. }));
    for way_out in ["pg_dump", "pg_upgrade", "postgresql-9"] {
        assert!(refused.to_string().contains(way_out), "{refused}");
    }
    std::fs::remove_file(folder.0.join("data/PG_VERSION")).expect("removed");
    let refused = Cluster::start(folder.config()).await.expect_err("no cluster");
    assert!(matches!(refused, EmbeddedError::NotACluster(_)));
}

#[tokio::test]
async fn a_folder_without_the_programs_is_named() {
    let folder = TestFolder::new("binaries");
    let bin_dir = Some(PathBuf::from("/nonexistent"));
    let config = EmbeddedConfig { bin_dir, ..folder.config() };
    let refused = Cluster::start(config).await.expect_err("no programs");
    assert!(matches!(refused, EmbeddedError::BinDirWrong(_)));
    assert!(EmbeddedError::Missing.to_string().contains("`postgresql`"));
}

#[tokio::test]
async fn a_path_that_is_no_socket_path_is_refused() {
    let folder = TestFolder::new("long");
    let config = EmbeddedConfig { folder: folder.0.join("x".repeat(100)), ..folder.config() };
    let refused = Cluster::start(config).await.expect_err("too long");
    assert!(matches!(refused, EmbeddedError::PathTooLong(_)));
}

/// What [`the_server_dies_with_its_parent`] runs as a process of its own.
const VICTIM: &str = "embedded::starts_a_cluster_and_waits_to_be_killed";
const VICTIM_FOLDER: &str = "MASKLINE_TEST_VICTIM_FOLDER";

#[tokio::test]
#[ignore = "only as the child of the_server_dies_with_its_parent"]
async fn starts_a_cluster_and_waits_to_be_killed() {
    let folder = PathBuf::from(std::env::var_os(VICTIM_FOLDER).expect("a folder"));
    let config = EmbeddedConfig {
        folder,
        bin_dir: None,
        connections_max: 5,
        durability: Durability::ThrowAway,
    };
    let _cluster = Cluster::start(config).await.expect("a cluster");
    eprintln!("victim is ready");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn the_server_dies_with_its_parent() {
    use std::io::{BufRead as _, BufReader};
    let folder = TestFolder::new("orphan");
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", VICTIM, "--ignored", "--nocapture"])
        .env(VICTIM_FOLDER, &folder.0)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a child");
    let stderr = BufReader::new(victim.stderr.take().expect("its words"));
    let ready = stderr.lines().map_while(Result::ok).any(|line| line.contains("victim is ready"));
    assert!(ready, "the victim started its cluster");
    victim.kill().expect("killed like kill -9");
    victim.wait().expect("gone");

    // A start waits for the former server and finds a clean, unlocked cluster.
    let cluster = Cluster::start(folder.config()).await.expect("the orphan is gone");
    let log = std::fs::read_to_string(folder.0.join("postgres.log")).expect("the log");
    assert!(!log.contains("was not properly shut down"), "{log}");
    cluster.stop().await;
}
