//! How what an operator sets reaches whoever keeps it: the warehouse's actor, or, before it has one, the journal.
//!
//! A warehouse that has an actor writes its own facts, so that what it decides by them stands after them in the journal.

use tokio::sync::oneshot;

use super::node::{Node, lost};
use super::router::Home;
use super::warehouse::{Command, SkuSetting};
use super::warehouses;
use crate::domain::event::Origin;
use crate::domain::refusal::{Code, Refusal};
use crate::domain::units::{Id, Time, Unit};
use crate::domain::warehouse::Warehouse;
use crate::storage::append::{Fold, SkuIndex};
use crate::storage::codec::SubjectRef;

impl Node {
    pub(super) async fn set_warehouse(&self, site: Warehouse, origin: Origin, now: Time) -> Result<u64, Refusal> {
        let id = site.id.clone();
        // One that has an actor writes its facts itself: what it decides by them comes after them.
        if let Some(home) = self.router.warehouse(&id) {
            let (reply, answer) = oneshot::channel();
            let site = Box::new(site);
            home.command(Command::Configure { site, origin, reply });
            return answer.await.unwrap_or_else(|_| Err(lost()));
        }
        let fold = Fold::Warehouse(Box::new(site.clone()));
        let seq = self
            .record(id.clone(), "warehouse_set", origin, now, fold, SubjectRef::Warehouse(&site))
            .await?;
        let (told, started) = oneshot::channel();
        // Answered when its events can be taken. A supervisor that is being restarted finds it in the view.
        if let Some(supervisor) = self.warehouses.borrow().as_ref() {
            let _ = supervisor.cast(warehouses::Msg::Declared(id, told));
        }
        let _ = started.await;
        Ok(seq)
    }

    pub(super) async fn set_sku(&self, warehouse: &Id, sku: &Id, setting: SkuSetting, origin: Origin) -> Result<u64, Refusal> {
        let home = self.actor(warehouse)?;
        let index = self.view().keys().find(warehouse.as_str(), sku.as_str());
        let index =
            index.ok_or_else(|| Refusal::new(Code::UnknownSku, format!("SKU {sku} is not known in warehouse {warehouse}")))?;
        self.ask_sku(&home, index, sku, setting, origin).await
    }

    async fn ask_sku(&self, home: &Home, sku: SkuIndex, id: &Id, setting: SkuSetting, origin: Origin) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        home.command(Command::Sku {
            sku,
            id: id.clone(),
            setting,
            origin,
            reply,
        });
        answer.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Sets a unit wherever the SKU is known; nowhere when one warehouse refuses.
    pub(super) async fn set_unit(&self, sku: &Id, unit: Unit, origin: &Origin) -> Result<(), Refusal> {
        let known: Vec<(Id, SkuIndex, Unit)> = {
            let (view, warehouses) = (self.view(), self.view().warehouses());
            let find = |warehouse: &Id| {
                let index = view.keys().find(warehouse.as_str(), sku.as_str())?;
                view.read(index, |stock, _| stock.map(|stock| (warehouse.clone(), index, stock.unit)))
            };
            warehouses.keys().filter_map(find).collect()
        };
        // The key is bound by the catalogue's own fact, which comes last.
        let origin = &Origin {
            fingerprint: 0,
            ..origin.clone()
        };
        let mut done: Vec<(Id, SkuIndex, Unit)> = Vec::new();
        for (warehouse, index, before) in known.into_iter().filter(|(_, _, before)| *before != unit) {
            let home = self.actor(&warehouse)?;
            if let Err(refusal) = self.ask_sku(&home, index, sku, SkuSetting::Unit(unit), origin.clone()).await {
                for (warehouse, index, before) in done {
                    let home = self.actor(&warehouse)?;
                    self.ask_sku(&home, index, sku, SkuSetting::Unit(before), origin.clone())
                        .await?;
                }
                return Err(refusal);
            }
            done.push((warehouse, index, before));
        }
        Ok(())
    }
}
