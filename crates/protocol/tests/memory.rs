//! What hostile frames cost in memory, counted by the allocator: never more than the decoder's allowance, whatever they claim.

#![allow(unsafe_code, reason = "an allocator can't be written without")]

use bytes::Bytes;
use protocol::messages::api_versions_request::ApiVersionsRequest;
use protocol::messages::create_topics_request::CreateTopicsRequest;
use protocol::messages::delete_topics_request::DeleteTopicsRequest;
use protocol::messages::fetch_request::FetchRequest;
use protocol::messages::fetch_response::FetchResponse;
use protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use protocol::messages::list_offsets_request::ListOffsetsRequest;
use protocol::messages::metadata_request::MetadataRequest;
use protocol::messages::metadata_response::MetadataResponse;
use protocol::messages::offset_commit_request::OffsetCommitRequest;
use protocol::messages::produce_request::ProduceRequest;
use protocol::wire::Message;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that decoding `frame` in any version of `M` allocates.
fn peak<M: Message>(frame: &Bytes) -> usize {
    let mut most = 0;
    for version in M::VERSIONS {
        let frame = frame.clone();
        let before = NOW.load(Relaxed);
        PEAK.store(before, Relaxed);
        let decoded = M::decode(frame, version);
        most = most.max(PEAK.load(Relaxed).saturating_sub(before));
        drop(decoded);
    }
    most
}

/// Frames of one byte repeated, which cost most; and small frames with claims in them, each of which tries another length field.
fn frames(bytes: usize) -> Vec<Bytes> {
    let mut frames: Vec<Bytes> = [0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xff].map(|byte| vec![byte; bytes].into()).to_vec();
    if bytes > 4 << 10 {
        return frames;
    }
    for claim in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0, 1, 0, 0], &[0x80, 0x80, 0x40]] {
        for shift in 0..24 {
            for fill in [0, 1, 2] {
                let mut frame = vec![fill; bytes];
                frame[shift..shift + claim.len()].copy_from_slice(claim);
                frames.push(frame.into());
            }
        }
    }
    frames
}

#[test]
fn no_frame_takes_more_memory_than_its_size_entitles_it_to() {
    let peaks: [fn(&Bytes) -> usize; 11] = [
        peak::<ApiVersionsRequest>,
        peak::<CreateTopicsRequest>,
        peak::<DeleteTopicsRequest>,
        peak::<FetchRequest>,
        peak::<FetchResponse>,
        peak::<FindCoordinatorRequest>,
        peak::<ListOffsetsRequest>,
        peak::<MetadataRequest>,
        peak::<MetadataResponse>,
        peak::<OffsetCommitRequest>,
        peak::<ProduceRequest>,
    ];
    let mut greatest = 0;
    for bytes in [64, 4 << 10, 256 << 10, 2 << 20] {
        let allowance = (16 * bytes + (64 << 10)).min(2 * bytes + (16 << 20));
        for frame in frames(bytes) {
            for peak in peaks {
                let peak = peak(&frame);
                assert!(peak <= allowance, "{bytes} bytes of frame took {peak} bytes of memory");
                greatest = greatest.max(peak / bytes);
            }
        }
    }
    assert!(greatest >= 4, "the frames are not hostile enough to tell anything: at most {greatest} bytes for one");
}
