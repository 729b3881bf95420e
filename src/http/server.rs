//! The thread that serves [`Pages`].

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::dev::{Server, ServerHandle};
use actix_web::http::{KeepAlive, header};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, Resource, rt, web};
use slog::error;
use tokio::runtime::Builder;

use super::access::{Access, LOGIN};
use super::assets::{self, Asset};
use super::documents;
use super::events::{Events, WATCHERS_MAX};
use super::format::Format;
use super::gate::{self, Gate};
use super::limit;
use super::pages::{Page, Pages};
use super::renewal::Files;
use super::tls::Certificate;
use crate::config::HttpConfig;
use crate::exit::is_exhausted;
use crate::observe::{events, keys};
use crate::supervisor::StoppableThread;

/// Connections served at once; those beyond wait in the backlog. So many are left if all who may watch do.
pub(super) const CONNECTIONS_MAX: usize = 32 + WATCHERS_MAX;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 64;
/// How long a client may take for the head of its request.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take for the TLS handshake, before its request's head.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take to close its side.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How long to wait for the end of the server.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// The server's thread. The server starts two more: one accepts, one answers.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    handle: ServerHandle,
    thread: StoppableThread,
}

impl HttpServer {
    /// Listens on `address` and serves `pages`, as `config` says, until [`HttpServer::stop`].
    ///
    /// # Errors
    /// The address is taken, a file cannot be used, or the system gives no thread or no file handle.
    pub fn start(
        address: SocketAddr,
        config: &HttpConfig,
        pages: Arc<Pages>,
    ) -> Result<Self, NotServed> {
        let files = Files::read(config).map_err(NotServed::File)?;
        let access = Access::new(config);
        let (tell, told) = mpsc::channel();
        let thread = StoppableThread::start("http", move |_| {
            let runtime = Builder::new_current_thread().enable_io().enable_time().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(NotServed::System(error)))),
            };
            rt::System::with_tokio_rt(|| runtime).block_on(async move {
                match bind(address, access, &files, &pages) {
                    Ok((address, server)) => {
                        rt::spawn(files.renew(pages.logging().logger()));
                        // The caller of `start` waits for this.
                        let _ = tell.send(Ok((address, server.handle())));
                        // SupervisorActor notices the thread's end, whatever the reason.
                        if let Err(error) = server.await {
                            error!(pages.logging().logger(), "http server ended"; events::HTTP_SERVER_ENDED,
                                keys::COMPONENT => "http", keys::ERROR => %error);
                        }
                    }
                    Err(error) => drop(tell.send(Err(error.into()))),
                }
            });
        });
        let thread = thread.map_err(NotServed::System)?;
        match told.recv() {
            Ok(Ok((address, handle))) => Ok(Self { address, handle, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(NotServed::System(io::Error::other("the server's thread panicked"))),
        }
    }

    /// Where it listens; for port 0 with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A function that says whether the thread has ended, for `SupervisorActor`.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        self.thread.finished()
    }

    /// Ends it at once, whatever its clients do. Call it last, so that probes are answered until then.
    pub fn stop(self) {
        // The call sends the command; the thread ends when it is done.
        drop(self.handle.stop(false));
        let (deadline, finished) = (Instant::now() + STOP_WITHIN, self.thread.finished());
        while !finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Why there is no server.
#[derive(Debug)]
pub enum NotServed {
    /// The address is taken, not local, or not allowed: another one would do.
    Address(io::Error),
    /// A file of `[http]` cannot be used; a readable sentence.
    File(String),
    /// The system gives no thread, no file handle or no memory.
    System(io::Error),
}

impl From<io::Error> for NotServed {
    fn from(error: io::Error) -> Self {
        if is_exhausted(&error) { Self::System(error) } else { Self::Address(error) }
    }
}

fn events(pages: &Arc<Pages>) -> Arc<Events> {
    let pages = Arc::clone(pages);
    Events::of(move || pages.snapshot())
}

fn response(Page { status, content_type, body }: Page) -> HttpResponse {
    HttpResponse::build(status).content_type(content_type).body(body)
}

fn bind(
    address: SocketAddr,
    access: Access,
    files: &Files,
    pages: &Arc<Pages>,
) -> io::Result<(SocketAddr, Server)> {
    let acceptor = files.certificate().map(Certificate::acceptor).transpose()?;
    let log = pages.logging().logger();
    let gate = Gate::new(access, files.logins(), acceptor.is_some(), &log);
    let (gate, pages) = (Arc::new(gate), Arc::clone(pages));
    let events = events(&pages);
    let app = move || {
        let serve = |path, page: fn(&Pages) -> Page| {
            let pages = Arc::clone(&pages);
            let answer = move || std::future::ready(response(page(&pages)));
            // Other methods get 405.
            web::resource(path).route(web::get().to(answer.clone())).route(web::head().to(answer))
        };
        let events = Arc::clone(&events);
        let watch = move |request: HttpRequest| std::future::ready(events.answer(&request));
        let scraped = Arc::clone(&pages);
        let scrape = move |request: HttpRequest| {
            let format = Format::of(request.headers());
            std::future::ready(response(scraped.metrics(format)))
        };
        let gate = Arc::clone(&gate);
        let [asking, logging_in] = [(); 2].map(|()| Arc::clone(&gate));
        let ask = move || std::future::ready(asking.show_form());
        let log_in = move |request, body| {
            let gate = Arc::clone(&logging_in);
            async move { gate.log_in(request, body).await }
        };
        App::new()
            .service(fixed("/", |_| Some(&assets::INDEX)))
            .service(fixed("/page/{name}", assets::asset))
            .service(fixed("/docs/{name}", documents::document))
            .service(web::resource("/events").route(web::get().to(watch)))
            .service(serve("/livez", Pages::livez))
            .service(serve("/readyz", Pages::readyz))
            .service(serve("/status.json", Pages::status))
            .service(
                web::resource("/metrics")
                    .route(web::get().to(scrape.clone()))
                    .route(web::head().to(scrape)),
            )
            .service(
                web::resource(LOGIN)
                    .route(web::get().to(ask.clone()))
                    .route(web::head().to(ask))
                    .route(web::post().to(log_in)),
            )
            .wrap(from_fn(move |request, next| Arc::clone(&gate).pass(request, next)))
            .wrap(gate::headers())
    };
    let server = actix_web::HttpServer::new(app)
        .workers(1)
        .worker_max_blocking_threads(1)
        .disable_signals()
        .on_connect(limit::limit)
        .backlog(BACKLOG)
        .max_connections(CONNECTIONS_MAX)
        .keep_alive(KeepAlive::Disabled)
        .client_request_timeout(HEAD_WITHIN)
        .client_disconnect_timeout(CLOSE_WITHIN)
        .tls_handshake_timeout(HANDSHAKE_WITHIN);
    let server = match acceptor {
        Some(acceptor) => server.bind_openssl(address, acceptor)?,
        None => server.bind(address)?,
    };
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((bound, server.run()))
}

/// What was built in, by the name at the end of the path.
fn fixed(path: &str, find: fn(&str) -> Option<&'static Asset>) -> Resource {
    let answer = move |request: HttpRequest| {
        std::future::ready(match find(request.match_info().query("name")) {
            None => HttpResponse::NotFound().finish(),
            Some(Asset { content_type, text, .. }) => HttpResponse::Ok()
                .content_type(*content_type)
                .insert_header((header::CONTENT_SECURITY_POLICY, assets::POLICY))
                .body(*text),
        })
    };
    web::resource(path).route(web::get().to(answer)).route(web::head().to(answer))
}
