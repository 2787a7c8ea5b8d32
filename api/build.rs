//! Compiles `proto/` with protox, a protobuf compiler in Rust, so that no `protoc` is needed.
//!
//! Three things come out: the descriptor set exactly as the .proto files say, the Rust types, and
//! a second copy of the types (`twin/`) in which nothing is replaced by hand. The tests hold the
//! hand-written messages against their generated twins; no other code includes that copy.

use std::path::{Path, PathBuf};
use std::{env, error, fs};

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::Compiler;

const PROTO_FILES: [&str; 12] = [
    "authpb/auth.proto",
    "etcdserverpb/auth.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/watch.proto",
    "grpc/health/v1/health.proto",
    "mvccpb/kv.proto",
    "v3electionpb/election.proto",
    "v3lockpb/lock.proto",
];

/// Messages with a type of their own in `src`, and where that is.
const REPLACED: [(&str, &str); 2] = [
    (".etcdserverpb.RangeResponse", "crate::RangeResponse"),
    (".etcdserverpb.WatchResponse", "crate::WatchResponse"),
];

/// Field names from which prost would make words like `peer_ur_ls`. Rust sees the second name; the
/// exported descriptor keeps the first, and on the wire there are only numbers.
const RENAMED: [(&str, &str); 2] = [("peerURLs", "peer_urls"), ("clientURLs", "client_urls")];

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    fs::write(out.join("descriptor_set.bin"), compile(false)?.encode_to_vec())?;

    let mut set = compile(true)?;
    rename_fields(&mut set);

    let mut config = configure(&out);
    for (message, path) in REPLACED {
        config.extern_path(message, path);
    }
    generate_services(&mut config);
    config.compile_fds(set.clone())?;

    let twin = out.join("twin");
    fs::create_dir_all(&twin)?;
    configure(&twin).compile_fds(set)?;
    Ok(())
}

fn compile(source_info: bool) -> Result<FileDescriptorSet, protox::Error> {
    let mut compiler = Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(source_info).open_files(PROTO_FILES)?;
    Ok(compiler.file_descriptor_set())
}

fn configure(out: &Path) -> prost_build::Config {
    let mut config = prost_build::Config::new();
    config.out_dir(out).bytes(["."]);
    config
}

fn rename_fields(set: &mut FileDescriptorSet) {
    let messages = set.file.iter_mut().flat_map(|file| &mut file.message_type);
    for field in messages.flat_map(|message| &mut message.field) {
        let renamed = RENAMED.iter().find(|(from, _)| field.name() == *from);
        if let Some((_, to)) = renamed {
            field.name = Some((*to).to_owned());
        }
    }
}

#[cfg(feature = "grpc")]
fn generate_services(config: &mut prost_build::Config) {
    // Without transport: a client takes whatever channel its user has, so that this crate brings
    // no connector with it.
    let services = tonic_prost_build::configure().build_transport(false);
    config.service_generator(services.service_generator());
}

#[cfg(not(feature = "grpc"))]
fn generate_services(_: &mut prost_build::Config) {}
