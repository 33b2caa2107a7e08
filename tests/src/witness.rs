//! An honest client, beside those that are not.

use holdfast::Dict;

use crate::manager::Manager;
use crate::wait::until_async;

/// An honest client, which was there before and must never notice the others.
#[derive(Debug)]
pub struct Witness {
    manager: holdfast::Manager,
    data: Dict<String, Vec<i64>>,
    objects: u64,
}

impl Witness {
    /// Connects, and stores what must not change.
    pub async fn new(manager: &Manager) -> Self {
        let manager = manager.connect().await;
        let data = manager.dict("what the witness knows").await.unwrap();
        let entries = (0..100).map(|number| (format!("key {number}"), vec![number; 10]));
        data.update(entries).await.unwrap();
        let objects = manager.status().await.unwrap().objects;
        Self { manager, data, objects }
    }

    /// The session of the witness.
    #[must_use]
    pub fn manager(&self) -> &holdfast::Manager {
        &self.manager
    }

    /// The manager serves the witness and a new client, what it holds has not changed, and everybody else's session and
    /// objects are gone.
    pub async fn sees_no_harm(&self, manager: &Manager) {
        self.sees_its_data().await;
        let newcomer = manager.connect().await;
        let data: Dict<String, Vec<i64>> = newcomer.dict("what the witness knows").await.unwrap();
        assert_eq!(data.get("key 7").await.unwrap(), Some(vec![7; 10]));
        newcomer.close().await;
        let status = until_async("the session of the other client ends", async || {
            Some(self.manager.status().await.unwrap()).filter(|status| status.sessions == 1)
        })
        .await;
        assert_eq!(status.objects, self.objects, "objects are left over, or gone");
    }

    /// The manager serves the witness, and what it holds has not changed.
    pub async fn sees_its_data(&self) {
        let items: Vec<(String, Vec<i64>)> = self.data.items().await.unwrap();
        assert_eq!(items.len(), 100);
        for (number, (key, value)) in (0_i64..).zip(items) {
            assert_eq!((key, value), (format!("key {number}"), vec![number; 10]));
        }
    }
}
