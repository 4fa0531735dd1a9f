//! Before the clock runs: a node that answers, and shelves full enough that no sale of the run is short.
//!
//! A sale beyond the book is taken too, but has to find its units first, which is other work than the one to be measured.

use std::net::{SocketAddr, ToSocketAddrs};

use jiff::Timestamp;

use super::request::{Terms, Writer};
use super::verdict::{Judge, Outcome};
use super::wire::Wire;
use super::work::Kind;
use crate::cli::exit::{Code, Failure};

/// SKUs in one batch of opening stock.
const OPENING_ROWS: u32 = 1_000;
/// The connection number of the opening; the callers begin below it.
const OPENING_CONNECTION: u64 = 0xF_FFFF;

/// Connections that sell beforehand.
const TILLS: u32 = 64;
/// Sales of one SKU in a row: more than `actors.wake_rate_per_s` asks for.
const SALES: usize = 30;

/// The socket address and the `host:port` of a node's URL.
pub fn address_of(url: &str) -> Result<(SocketAddr, String), Failure> {
    let unusable = |why: &str| Failure::usage(format!("cannot drive {url}: {why}"));
    let host = url
        .strip_prefix("http://")
        .ok_or_else(|| unusable("expected http://host:port"))?;
    let host = host.trim_end_matches('/');
    if host.contains('/') {
        return Err(unusable(
            "an address with a path is behind a proxy, which would be measured too; name the node itself",
        ));
    }
    let with_port = if host.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port
        .to_socket_addrs()
        .map_err(|error| unusable(&error.to_string()))?
        .next();
    Ok((address.ok_or_else(|| unusable("the name has no address"))?, host.to_owned()))
}

/// Receives opening stock for every SKU. Anything but acceptance ends the run: its figures would be of refusals.
pub async fn stock_up(address: SocketAddr, terms: &Terms, skus: u32) -> Result<(), Failure> {
    let unreachable = |error: std::io::Error| {
        Failure::new(Code::Unavailable, format!("no node answers at {address}: {error}"))
            .with_help("start one with `shelfd run`, or leave out --url")
    };
    let mut wire = Wire::connect(address).await.map_err(unreachable)?;
    let mut writer = Writer::new(terms.clone(), OPENING_CONNECTION, 0);
    let judge = Judge::default();
    writer.set_time(&now());
    for from in (0..skus).step_by(OPENING_ROWS as usize) {
        let until = (from + OPENING_ROWS).min(skus);
        writer.write_opening(from, until);
        let reply = wire.ask(&writer.request).await.map_err(unreachable)?;
        let mut outcome = Outcome::default();
        judge.judge(Kind::Batch, u64::from(until - from), &reply, &mut outcome);
        if outcome.missed() > 0 {
            let codes: Vec<String> = outcome
                .not_accepted
                .iter()
                .map(|(code, count)| format!("{count} {code}"))
                .collect();
            let excerpt: String = String::from_utf8_lossy(reply.body).chars().take(300).collect();
            return Err(
                Failure::data(format!("the opening stock was not accepted: {}", codes.join(", "))).with_help(format!(
                    "is the warehouse {:?} declared? name one with --warehouse. The node said: {excerpt}",
                    terms.warehouse
                )),
            );
        }
    }
    Ok(())
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Sells each of the first `skus` SKUs unit by unit, faster than the rate at which a SKU is given an actor of its own (with the
/// default configuration).
pub async fn wake_each(address: SocketAddr, terms: &Terms, skus: u32) -> Result<(), Failure> {
    let callers = (0..TILLS).map(|caller| {
        let (mine, terms) = ((caller..skus).step_by(TILLS as usize), terms.clone());
        async move {
            let mut wire = Wire::connect(address).await?;
            let mut writer = Writer::new(terms, OPENING_CONNECTION - 1 - u64::from(caller), 0);
            writer.set_time(&now());
            for sku in mine.flat_map(|sku| std::iter::repeat_n(sku, SALES)) {
                writer.write_sale_of(sku);
                let reply = wire.ask(&writer.request).await?;
                if reply.status >= 300 {
                    let excerpt: String = String::from_utf8_lossy(reply.body).chars().take(300).collect();
                    return Err(Failure::data(format!("a sale was not accepted: {excerpt}")));
                }
            }
            Ok::<(), Failure>(())
        }
    });
    futures_util::future::try_join_all(callers).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let (address, host) = address_of("http://127.0.0.1:7480/").expect("an address");
        assert_eq!((address.port(), host.as_str()), (7480, "127.0.0.1:7480"));
        assert_eq!(address_of("http://127.0.0.1").expect("an address").0.port(), 80);
        assert!(address_of("http://127.0.0.1:1/node").is_err());
    }
}
