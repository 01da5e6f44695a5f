//! What the hot path's values weigh: pinned, because a byte more in an order is a cache line more.

use book::command::{Command, PlaceOrder};
use book::event::{Event, Fill, Transfer};
use book::slab::Order;

#[test]
fn an_order_is_one_cache_line() {
    assert_eq!((size_of::<Order>(), align_of::<Order>()), (64, 64));
}

#[test]
fn events_and_commands_stay_within_their_size() {
    let sizes = [
        ("Event", size_of::<Event>(), 128),
        ("Fill", size_of::<Fill>(), 128),
        ("Transfer", size_of::<Transfer>(), 56),
        ("Command", size_of::<Command>(), 128),
        ("PlaceOrder", size_of::<PlaceOrder>(), 80),
    ];
    for (name, size, bytes_max) in sizes {
        println!("{name} {size} bytes");
        assert!(size <= bytes_max, "{name} has grown to {size} bytes from {bytes_max} at most");
    }
}
