//! HTTP/2 without encryption (h2c): the same API, many requests on one connection, and the same problems.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::events::event;
use crate::harness::node::Node;

type Client = SendRequest<Full<Bytes>>;

/// One connection; dropped with the runtime of its test.
async fn connect(node: &Node) -> Client {
    let stream = TcpStream::connect(node.address()).await.expect("the node listens");
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2c");
    tokio::spawn(connection);
    client
}

async fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> (StatusCode, String) {
    let mut request = Request::builder().method(method).uri(format!("http://node{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let answer = client.clone().send_request(request).await.expect("an answer");
    let status = answer.status();
    let bytes = answer.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&bytes).into_owned())
}

fn run(test: impl AsyncFnOnce(Client)) {
    let node = Node::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async { test(connect(&node).await).await });
}

#[test]
fn many_events_at_once_on_one_h2c_connection_each_have_their_verdict() {
    run(async |client: Client| {
        let headers = [("content-type", "application/json")];
        let sent = (0..50).map(|number| {
            let client = &client;
            async move {
                ask(
                    client,
                    "POST",
                    "/v1/events",
                    &headers,
                    event(&format!("r-{number}"), "receipt", "A", 2),
                )
                .await
            }
        });
        for (status, body) in futures_util::future::join_all(sent).await {
            assert_eq!(status, 200, "{body}");
            assert!(body.contains("\"applied\""), "{body}");
        }
        let (status, sku) = ask(&client, "GET", "/v1/warehouses/main/skus/A", &[], Value::Null).await;
        let sku: Value = serde_json::from_str(&sku).expect("JSON");
        assert_eq!((status.as_u16(), &sku["accounts"]["sellable"]), (200, &json!(100)));
    });
}

#[test]
fn a_head_that_is_too_large_is_a_problem_over_h2c_too_and_the_connection_goes_on() {
    run(async |client: Client| {
        for bytes in [17_000, 60_000, 200_000] {
            let long = "x".repeat(bytes);
            let (status, body) = ask(&client, "GET", "/livez", &[("x-long", &long)], Value::Null).await;
            assert_eq!(status, 431, "{bytes}");
            assert!(body.contains("\"headers_too_large\""), "{bytes}: {body}");
        }
        let (status, _) = ask(&client, "GET", "/livez", &[], Value::Null).await;
        assert_eq!(status, 200);
    });
}
