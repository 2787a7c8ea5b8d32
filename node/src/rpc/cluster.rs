//! `etcdserverpb.Cluster`: who the members are.
//!
//! Who joins, leaves or votes is changed in [`super::membership`].

use std::time::SystemTime;

use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::cluster_server::Cluster;
use revd_replica::{Command, Member, Membership};
use tonic::{Request, Response, Status};
use url::{Host, Url};

use super::checks::Door;
use super::errors::{self, Refusal};
use super::membership;
use crate::bootstrap::added_member_id;
use crate::http::member::MemberRecord;

/// The service.
pub(super) struct ClusterService {
    door: Door,
}

impl ClusterService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }

    fn member(&self, id: u64) -> Option<Member> {
        self.door.handle.members().iter().find(|member| member.id == id).cloned()
    }

    fn members(&self) -> Vec<pb::Member> {
        self.door.handle.members().iter().map(message).collect()
    }

    /// Whether the members other than `id` have one of these URLs.
    fn others_have(&self, id: u64, urls: &[String]) -> bool {
        let members = self.door.handle.members();
        let mut others = members.iter().filter(|member| member.id != id);
        others.any(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    }

    /// Refuses what is asked of a member that does not exist: a member that was just added through
    /// another one may not be known here yet.
    async fn check_known(&self, id: u64) -> Result<(), Status> {
        if self.member(id).is_none() {
            self.door.handle.barrier().await.map_err(errors::call_failed)?;
        }
        self.member(id).map(drop).ok_or_else(|| Refusal::MemberNotFound.into())
    }

    /// Has a change made, and lists the members after it.
    async fn change(&self, change: Membership) -> Result<Vec<pb::Member>, Status> {
        let members = membership::change(&self.door.handle, &change).await?;
        Ok(members.into_iter().map(from_record).collect())
    }
}

fn message(member: &Member) -> pb::Member {
    pb::Member {
        id: member.id,
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        is_learner: member.is_learner,
    }
}

fn from_record(member: MemberRecord) -> pb::Member {
    let MemberRecord { id, peer_urls, name, client_urls, is_learner } = member;
    pb::Member { id, name, peer_urls, client_urls, is_learner }
}

/// Whether these are URLs of a peer: at least one, each of a scheme that peers speak, with host and
/// port and without a path unless it names a socket.
fn are_peer_urls(urls: &[String]) -> bool {
    !urls.is_empty() && urls.iter().all(|url| is_peer_url(url))
}

fn is_peer_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    match url.scheme() {
        "unix" | "unixs" => true,
        "http" | "https" => {
            // The parser drops a default port and adds the path `/`; the text still tells.
            let rest = text.split_once("://").map_or("", |(_, rest)| rest);
            let has_port = match rest.rsplit_once(':') {
                Some((_, port)) => !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()),
                None => false,
            };
            let has_host = url.host().is_some_and(|host| host != Host::Domain(""));
            has_host && has_port && !rest.contains('/')
        }
        _ => false,
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let pb::MemberAddRequest { peer_urls, is_learner } = self.door.admit(request)?;
        if !are_peer_urls(&peer_urls) {
            return Err(Refusal::MemberBadUrls.into());
        }
        let id = added_member_id(&peer_urls, SystemTime::now());
        let member = Member { id, peer_urls, is_learner, ..Member::default() };
        let members = self.change(Membership::Add(member.clone())).await?;
        let header = self.door.header.without_revision(&self.door.handle);
        let member = Some(message(&member));
        Ok(Response::new(pb::MemberAddResponse { header, member, members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let pb::MemberRemoveRequest { id } = self.door.admit(request)?;
        let members = self.change(Membership::Remove(id)).await?;
        let header = self.door.header.without_revision(&self.door.handle);
        Ok(Response::new(pb::MemberRemoveResponse { header, members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let pb::MemberUpdateRequest { id, peer_urls } = self.door.admit(request)?;
        self.check_known(id).await?;
        if self.others_have(id, &peer_urls) {
            return Err(Refusal::PeerUrlExists.into());
        }
        if !are_peer_urls(&peer_urls) {
            return Err(Refusal::MemberBadUrls.into());
        }
        // It changes nothing about who votes, so any member can propose it.
        let update = Command::MemberUpdate { member: id, peer_urls };
        self.door.handle.propose(update).await.map_err(errors::call_failed)?;
        let header = self.door.header.without_revision(&self.door.handle);
        Ok(Response::new(pb::MemberUpdateResponse { header, members: self.members() }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        if self.door.admit(request)?.linearizable {
            self.door.handle.barrier().await.map_err(errors::call_failed)?;
        }
        let header = self.door.header.without_revision(&self.door.handle);
        Ok(Response::new(pb::MemberListResponse { header, members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let pb::MemberPromoteRequest { id } = self.door.admit(request)?;
        let members = self.change(Membership::Promote(id)).await?;
        let header = self.door.header.without_revision(&self.door.handle);
        Ok(Response::new(pb::MemberPromoteResponse { header, members }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_have_a_scheme_a_host_and_a_port() {
        for good in
            ["http://127.0.0.1:2380", "https://[::1]:1", "http://node.example:80", "unix://a:1"]
        {
            assert!(is_peer_url(good), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:2380",
            "ftp://127.0.0.1:2380",
            "http://127.0.0.1",
            "http://:2380",
            "http://127.0.0.1:2380/path",
            "http://127.0.0.1:2380/",
            "http://127.0.0.1:port",
        ] {
            assert!(!is_peer_url(bad), "{bad}");
        }
        assert!(!are_peer_urls(&[]));
    }
}
