//! `etcdserverpb.Auth`: users and roles.
//!
//! Authentication cannot be turned on yet, and there are no users and no roles. That is a state
//! that etcd has too, and in it nearly every call has its answer; what would create a user or a
//! role says that it is not built.

use revd_api::authpb;
use revd_api::etcdserverpb as pb;
use revd_api::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::checks::Door;
use super::errors::{self, Refusal};

/// The auth revision of a store in which nothing was ever changed.
const FIRST_AUTH_REVISION: u64 = 1;

/// Bytes of a password that its hash can take in.
const PASSWORD_BYTES_MAX: usize = 72;

/// The service.
pub(super) struct AuthService {
    door: Door,
}

impl AuthService {
    pub(super) const fn new(door: Door) -> Self {
        Self { door }
    }

    /// Lets a call in and waits until its answer is current: in etcd each goes through the log.
    async fn enter<T>(&self, request: Request<T>) -> Result<T, Status> {
        let request = self.door.admit(request)?;
        self.door.handle.barrier().await.map_err(errors::call_failed)?;
        Ok(request)
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        self.door.header.now(&self.door.handle)
    }
}

fn check_password(password: &str) -> Result<(), Refusal> {
    match password.len() > PASSWORD_BYTES_MAX {
        true => Err(Refusal::PasswordTooLong),
        false => Ok(()),
    }
}

/// Checks the range of a permission (rule 8.11).
fn check_permission(permission: Option<&authpb::Permission>) -> Result<(), Refusal> {
    let permission = permission.ok_or(Refusal::PermissionNotGiven)?;
    let (key, end) = (&permission.key[..], &permission.range_end[..]);
    let is_range = end.is_empty() || end == b"\0" || key < end;
    if key.is_empty() || !is_range {
        return Err(Refusal::InvalidAuthManagement);
    }
    Ok(())
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::RootUserNotExist.into())
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        self.enter(request).await?;
        Ok(Response::new(pb::AuthDisableResponse { header: self.header() }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        self.enter(request).await?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.header(),
            enabled: false,
            auth_revision: FIRST_AUTH_REVISION,
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::AuthNotEnabled.into())
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        let request = self.enter(request).await?;
        if !request.options.is_some_and(|options| options.no_password) {
            check_password(&request.password)?;
        }
        match request.name.is_empty() {
            true => Err(Refusal::UserEmpty.into()),
            false => Err(errors::not_built("UserAdd")),
        }
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::UserNotFound.into())
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        self.enter(request).await?;
        let users = Vec::new();
        Ok(Response::new(pb::AuthUserListResponse { header: self.header(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::UserNotFound.into())
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        check_password(&self.enter(request).await?.password)?;
        Err(Refusal::UserNotFound.into())
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::UserNotFound.into())
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::UserNotFound.into())
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        match self.enter(request).await?.name.is_empty() {
            true => Err(Refusal::RoleEmpty.into()),
            false => Err(errors::not_built("RoleAdd")),
        }
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::RoleNotFound.into())
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        self.enter(request).await?;
        let roles = Vec::new();
        Ok(Response::new(pb::AuthRoleListResponse { header: self.header(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::RoleNotFound.into())
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        check_permission(self.enter(request).await?.perm.as_ref())?;
        Err(Refusal::RoleNotFound.into())
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        self.enter(request).await?;
        Err(Refusal::RoleNotFound.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_needs_a_key_and_a_range_that_is_not_empty() {
        let permission = |key: &'static [u8], end: &'static [u8]| authpb::Permission {
            key: key.into(),
            range_end: end.into(),
            ..Default::default()
        };
        for (key, end) in [(&b"a"[..], &b""[..]), (b"a", b"b"), (b"a", b"\0")] {
            check_permission(Some(&permission(key, end))).unwrap();
        }
        for (key, end) in [(&b""[..], &b""[..]), (b"", b"b"), (b"b", b"a"), (b"a", b"a")] {
            let refused = check_permission(Some(&permission(key, end)));
            assert_eq!(refused, Err(Refusal::InvalidAuthManagement), "{key:?} {end:?}");
        }
        assert_eq!(check_permission(None), Err(Refusal::PermissionNotGiven));
    }
}
