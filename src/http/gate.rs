//! Every request passes here: who may see a page, the login, and the headers of each answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::cookie::{Cookie, SameSite, time};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{DefaultHeaders, Next};
use actix_web::{Error, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use parking_lot::Mutex;
use serde::Deserialize;
use slog::{Logger, error, o, warn};

use super::access::{Access, Asked, Denied};
use super::html;
use super::login::{LOGIN_LASTS, Logins};
use crate::observe::{LogLimiter, events, keys};

/// The form's field, with room for a long token.
const FORM_MAX: usize = 4096;
/// How long a client may take for the form.
const FORM_WITHIN: Duration = Duration::from_secs(5);
/// One warning of wrong tokens in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// How long a browser should wait after too many attempts.
const RETRY_AFTER_S: &str = "3";

const TEXT: &str = "text/plain; charset=utf-8";

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) access: Access,
    /// With `http.token_file`.
    pub(super) logins: Option<Arc<Logins>>,
    /// Over TLS.
    pub(super) is_secure: bool,
    log: Logger,
    limiter: Mutex<LogLimiter>,
}

#[derive(Deserialize)]
struct Form {
    token: String,
}

impl Gate {
    pub(super) fn new(
        access: Access,
        logins: Option<Arc<Logins>>,
        is_secure: bool,
        log: &Logger,
    ) -> Self {
        let log = log.new(o!(keys::COMPONENT => "http"));
        let limiter = LogLimiter::every(WARN_EVERY).into();
        Self { access, logins, is_secure, log, limiter }
    }

    /// Serves the request, or says why not.
    pub(super) async fn pass(
        self: Arc<Self>,
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<BoxBody>, Error> {
        match self.admit(request.request()) {
            Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
            Err(denied) => {
                let answer = self.refuse(denied, request.request());
                Ok(request.into_response(answer))
            }
        }
    }

    fn admit(&self, request: &HttpRequest) -> Result<(), Denied> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        // An absolute URL comes before the header (RFC 9112, section 3.2.2).
        let host = request.uri().authority().map(|authority| authority.as_str()).or(host);
        let bearer = request.headers().get(header::AUTHORIZATION);
        let bearer = bearer.and_then(|header| header.to_str().ok());
        let logins = self.logins.as_deref();
        let has_token = logins.zip(bearer).is_some_and(|(logins, header)| logins.is_bearer(header));
        if bearer.is_some() && logins.is_some() && !has_token {
            self.warn_of_wrong_token(request);
        }
        let cookie = request.cookie(&cookie_name(request));
        let has_cookie = logins
            .zip(cookie)
            .is_some_and(|(logins, cookie)| logins.is_cookie(cookie.value(), Instant::now()));
        self.access.admit(Asked { path: request.path(), host, has_token, has_cookie })
    }

    fn refuse(&self, denied: Denied, request: &HttpRequest) -> HttpResponse {
        match denied {
            Denied::Misdirected => HttpResponse::build(StatusCode::MISDIRECTED_REQUEST)
                .content_type(TEXT)
                .body(
                    "The Host header of this request is not a name of this bridge: use its address, \
                     or list the name in http.host_names.\n",
                ),
            Denied::Closed => HttpResponse::Forbidden().content_type(TEXT).body(
                "This page is served off loopback only with a token: set http.token_file (for \
                 /metrics: or http.metrics_token = false).\n",
            ),
            Denied::NoToken => {
                let mut answer = HttpResponse::Unauthorized();
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
                match wants_html(request) {
                    true => form(&mut answer, "This page asks for the token of http.token_file."),
                    false => answer.content_type(TEXT).body(
                        "This page asks for the token of http.token_file: Authorization: Bearer \
                         TOKEN.\n",
                    ),
                }
            }
        }
    }

    /// `GET /login`
    pub(super) fn show_form(&self) -> HttpResponse {
        match self.logins {
            Some(_) => form(&mut HttpResponse::Ok(), "The token of http.token_file:"),
            None => HttpResponse::NotFound().finish(),
        }
    }

    /// `POST /login`
    pub(super) async fn log_in(&self, request: HttpRequest, body: web::Payload) -> HttpResponse {
        let Some(logins) = &self.logins else { return HttpResponse::NotFound().finish() };
        let body = body.to_bytes_limited(FORM_MAX);
        let body = match tokio::time::timeout(FORM_WITHIN, body).await {
            Ok(Ok(Ok(body))) => body,
            Ok(Ok(Err(_))) => return HttpResponse::BadRequest().finish(),
            Ok(Err(_)) => return HttpResponse::PayloadTooLarge().finish(),
            Err(_) => return HttpResponse::RequestTimeout().finish(),
        };
        // A form is written as a query is (application/x-www-form-urlencoded).
        let given = std::str::from_utf8(&body).ok();
        let given = given.and_then(|body| web::Query::<Form>::from_query(body).ok());
        let Some(web::Query(Form { token })) = given else {
            return form(&mut HttpResponse::BadRequest(), "Expected the field token.");
        };
        match logins.attempt(&token, Instant::now()) {
            None => {
                let mut answer = HttpResponse::TooManyRequests();
                answer.insert_header((header::RETRY_AFTER, RETRY_AFTER_S));
                form(&mut answer, "Too many attempts: wait a few seconds.")
            }
            Some(false) => {
                self.warn_of_wrong_token(&request);
                form(&mut HttpResponse::Unauthorized(), "This is not the token.")
            }
            Some(true) => match logins.cookie(Instant::now()) {
                Ok(value) => HttpResponse::SeeOther()
                    .insert_header((header::LOCATION, "/"))
                    .cookie(self.cookie(cookie_name(&request), value))
                    .finish(),
                Err(error) => {
                    error!(self.log, "cannot make a cookie"; events::HTTP_COOKIE_FAILED, keys::ERROR => %error);
                    HttpResponse::InternalServerError().finish()
                }
            },
        }
    }

    fn cookie(&self, name: String, value: String) -> Cookie<'static> {
        Cookie::build(name, value)
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.is_secure)
            .max_age(time::Duration::try_from(LOGIN_LASTS).unwrap_or(time::Duration::ZERO))
            .finish()
    }

    fn warn_of_wrong_token(&self, request: &HttpRequest) {
        if let Some(suppressed) = self.limiter.lock().pass(Instant::now()) {
            let peer = request.peer_addr().map(|peer| peer.to_string());
            warn!(self.log, "wrong http token"; events::HTTP_TOKEN_WRONG,
                keys::HTTP_CLIENT => peer, keys::SUPPRESSED => suppressed);
        }
    }
}

/// Of every answer: nothing is kept, guessed, shown in a frame, or loaded from anywhere.
pub(super) fn headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CACHE_CONTROL, "no-store"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ))
}

/// With the port, since a browser sends a cookie to all ports of a host.
fn cookie_name(request: &HttpRequest) -> String {
    format!("bridge-login-{}", request.app_config().local_addr().port())
}

fn form(answer: &mut HttpResponseBuilder, sentence: &'static str) -> HttpResponse {
    answer.content_type(html::HTML).body(html::login(sentence))
}

/// Whether a person asks.
fn wants_html(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|header| header.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}
