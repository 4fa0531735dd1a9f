//! What the handlers look up again and again: the warehouse and the SKU of a path, and the journal off the runtime's threads.

use std::sync::Arc;

use axum::http::HeaderMap;

use super::Door;
use super::error::{Answer, Problem};
use super::params;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::Id;
use crate::domain::warehouse::Warehouse;
use crate::ingress::suggest;
use crate::storage::append::SkuIndex;
use crate::storage::store::{ReadError, Store};

/// SKUs that are compared with one that nobody knows.
const NEIGHBOURS: usize = 1_000;

impl Door {
    /// The warehouse of a path.
    pub(super) fn warehouse(&self, text: &str) -> Answer<Arc<Warehouse>> {
        let id = params::id("w", text)?;
        let view = self.node.view();
        view.warehouse(id.as_str()).ok_or_else(|| {
            let all = view.warehouses();
            let hint = suggest::hint(id.as_str(), all.keys().map(Id::as_str));
            let detail = format!("no warehouse {} is declared here{hint}", suggest::quoted(id.as_str()));
            Problem::in_path(Refusal::new(Code::UnknownWarehouse, detail))
        })
    }

    /// The SKU of a path.
    pub(super) fn sku(&self, warehouse: &Warehouse, text: &str) -> Answer<(Id, SkuIndex)> {
        let id = params::id("s", text)?;
        let (view, site) = (self.node.view(), warehouse.id.as_str());
        let index = view.keys().find(site, id.as_str());
        let known = index.filter(|index| view.read(*index, |stock, _| stock.is_some()));
        known.map(|index| (id.clone(), index)).ok_or_else(|| {
            let near = view.skus_of(site, None, NEIGHBOURS);
            let hint = suggest::hint(id.as_str(), near.iter().map(|(sku, _)| sku.as_str()));
            let detail = format!("no SKU {} is known in warehouse {site}{hint}", suggest::quoted(id.as_str()));
            Problem::new(Code::UnknownSku, detail)
        })
    }

    /// Reads the journal on a thread that may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, ReadError> + Send + 'static,
    ) -> Answer<T> {
        let node = self.node.clone();
        let read = tokio::task::spawn_blocking(move || look(node.store())).await;
        match read {
            Ok(result) => result.map_err(unreadable),
            Err(_) => Err(Problem::new(
                Code::InternalError,
                "the journal could not be read; the log has more",
            )),
        }
    }
}

/// Why the journal did not answer, as a problem.
pub(super) fn unreadable(error: ReadError) -> Problem {
    match error {
        ReadError::HistoryGone { .. } => Problem::new(Code::HistoryGone, error.to_string()),
        ReadError::Unavailable => Problem::new(Code::Overloaded, error.to_string()),
        ReadError::Disk(_) | ReadError::Pages(_) | ReadError::Damaged { .. } => {
            tracing::error!(%error, "the store could not be read for a request");
            Problem::new(Code::InternalError, error.to_string())
        }
    }
}

/// The caller's `Idempotency-Key`, where it gave one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Answer<Option<Id>> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value
        .to_str()
        .map_err(|_| Problem::new(Code::MalformedHeader, "the header Idempotency-Key is not readable text"))?;
    Id::source(text).map(Some).map_err(|why| {
        Problem::new(
            Code::MalformedHeader,
            format!("the header Idempotency-Key is no id: it {why}"),
        )
    })
}
