// The two libraries, each with every promise. The file that includes this says where the managers listen, in `setup`.

/// One manager for all tests of this file. It ends when this process does.
fn shared() -> &'static Manager {
    static MANAGER: OnceLock<Manager> = OnceLock::new();
    MANAGER.get_or_init(|| setup().limit("name_bytes", 64).limit("value_bytes", 1 << 20).tcp().start())
}

mod through_the_async_library {
    use holdfast::{
        Array, Barrier, Condition, Dict, Event, Latch, List, Lock, Manager, Namespace, Queue, RLock, Receipt, RwLock,
        Semaphore, Set, Value, WorkQueue,
    };

    /// What a call gives.
    macro_rules! wait {
        ($call:expr) => {
            $call.await
        };
    }

    /// What a wait on a condition is for.
    macro_rules! predicate {
        ($predicate:expr) => {
            || async { $predicate }
        };
    }

    /// A test with a session of its own.
    macro_rules! promise {
        ($name:ident, $limits:expr, |$server:ident, $manager:ident| $body:block) => {
            #[tokio::test]
            async fn $name() {
                let $server = super::for_limits($limits);
                let $manager: Manager = Manager::connect_with(&$server.options()).await.unwrap();
                $body
            }
        };
    }

    /// A second session.
    macro_rules! connect {
        ($options:expr) => {
            Manager::connect_with(&$options).await
        };
    }

    /// Names of objects begin with this, since both libraries use one manager.
    const LIBRARY: &str = "async";

    include!("promises.rs");
    include!("lists.rs");
    include!("sets.rs");
    include!("namespaces.rs");
    include!("arrays.rs");
    include!("conditions.rs");
    include!("rwlocks.rs");
    include!("semaphores.rs");
    include!("meetings.rs");
    include!("queues.rs");
}

mod through_the_blocking_library {
    use holdfast::blocking::{
        Array, Barrier, Condition, Dict, Event, Latch, List, Lock, Manager, Namespace, Queue, RLock, Receipt, RwLock,
        Semaphore, Set, Value, WorkQueue,
    };

    macro_rules! wait {
        ($call:expr) => {
            $call
        };
    }

    macro_rules! predicate {
        ($predicate:expr) => {
            || $predicate
        };
    }

    macro_rules! promise {
        ($name:ident, $limits:expr, |$server:ident, $manager:ident| $body:block) => {
            #[test]
            fn $name() {
                let $server = super::for_limits($limits);
                let $manager: Manager = Manager::connect_with(&$server.options()).unwrap();
                $body
            }
        };
    }

    macro_rules! connect {
        ($options:expr) => {
            Manager::connect_with(&$options)
        };
    }

    const LIBRARY: &str = "blocking";

    include!("promises.rs");
    include!("lists.rs");
    include!("sets.rs");
    include!("namespaces.rs");
    include!("arrays.rs");
    include!("queues.rs");
    include!("conditions.rs");
    include!("rwlocks.rs");
    include!("semaphores.rs");
    include!("meetings.rs");
}

/// The manager of a test: the shared one, or one of its own with limits of its own.
fn for_limits(limits: &[(&str, u64)]) -> Place {
    match limits {
        [] => Place::Shared(shared()),
        limits => {
            let setup = limits.iter().fold(setup(), |setup, (name, value)| setup.limit(name, *value));
            Place::Own(setup.start())
        }
    }
}

/// The manager of a test.
enum Place {
    Shared(&'static Manager),
    Own(Manager),
}

impl std::ops::Deref for Place {
    type Target = Manager;

    fn deref(&self) -> &Manager {
        match self {
            Self::Shared(manager) => manager,
            Self::Own(manager) => manager,
        }
    }
}
