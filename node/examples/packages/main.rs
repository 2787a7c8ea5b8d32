//! Real input: every package that apt knows, as a key, through a real server.
//!
//! ```text
//! apt-get update
//! cargo run --release -p revd --example packages
//! ```
//!
//! Reads `apt-cache dumpavail` (or the file that is named), writes each stanza as
//! `/packages/<name>` while a watch follows, lists them by prefix, changes some, compacts, restarts
//! the server, and compares at every step.

mod client;
mod stanzas;
mod writers;

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use client::Client;
use revd::config::Config;
use revd::server::Server;
use stanzas::Packages;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let packages = stanzas::read(std::env::args().nth(1).as_deref())?;
    let bytes: usize = packages.values().map(bytes::Bytes::len).sum();
    println!("{} packages, {:.1} MB", packages.len(), bytes as f64 / 1e6);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(packages))
}

async fn run(mut packages: Packages) -> Result<(), Failure> {
    let dir = tempfile::tempdir_in(".")?;
    let (server, client) = start(dir.path()).await?;
    let watch = tokio::spawn(client.clone().follow(packages.len()));

    let begun = Instant::now();
    let revision = writers::write(&client, &packages).await?;
    let rate = packages.len() as f64 / begun.elapsed().as_secs_f64();
    println!("written by {} writers: {rate:.0} puts/s, now at revision {revision}", writers::COUNT);

    let followed = watch.await??;
    assert_eq!(followed, packages, "the watch saw what was written");
    println!("the watch delivered all {} of them", followed.len());
    compare(&client, &packages).await?;

    let deleted = client.delete_those_with("lib").await?;
    packages.retain(|name, _| !name.starts_with("lib"));
    let changed = stanzas::change_each_tenth(&mut packages);
    writers::write(&client, &changed).await?;
    println!("{} packages changed, {deleted} deleted", changed.len());
    compare(&client, &packages).await?;

    let begun = Instant::now();
    client.compact(revision + 1).await?;
    println!("compacted at revision {} in {:.1?}", revision + 1, begun.elapsed());
    let gone = client.list(revision).await.map_err(|status| status.code());
    assert_eq!(gone.err(), Some(tonic::Code::OutOfRange), "what is compacted cannot be read");
    compare(&client, &packages).await?;

    drop(client);
    server.stop().await;
    let begun = Instant::now();
    let (server, client) = start(dir.path()).await?;
    println!("restarted in {:.1?}", begun.elapsed());
    compare(&client, &packages).await?;
    server.stop().await;
    Ok(())
}

/// A server on free ports of loopback, and a client of it.
async fn start(dir: &Path) -> Result<(Server, Client), Failure> {
    let data = dir.join("data").display().to_string();
    let mut flags = vec![format!("--data-dir={data}"), "--name=packages".to_owned()];
    for urls in ["listen-client-urls", "advertise-client-urls", "listen-peer-urls"] {
        flags.push(format!("--{urls}=http://127.0.0.1:0"));
    }
    let parsed = Config::read(flags.into_iter().map(Into::into), []);
    let server = Server::start(parsed.map_err(|stop| format!("{stop:?}"))?.config).await?;
    let client = Client::connect(server.client_addresses()[0]).await?;
    Ok((server, client))
}

/// Lists all packages and compares them with what they should be.
async fn compare(client: &Client, packages: &Packages) -> Result<(), Failure> {
    let begun = Instant::now();
    let found = client.list(0).await?;
    let took = begun.elapsed();
    assert_eq!(&found, packages, "the list is what was written");
    println!("  listed {} by prefix in {took:.1?}: the same", found.len());
    Ok(())
}
