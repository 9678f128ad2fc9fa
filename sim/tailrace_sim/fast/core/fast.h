// C interface of the fast backend: devices as Verilated RTL, and around each of them what its pins
// meet: the integrated block's TLP streams, host memory, MAC ports. Python runs it in strides.
//
// This file is read twice: by the C++ compiler and by cffi. So it is plain C without preprocessor.
// Times are picoseconds since the start, cycles are rising edges since the start of a clock.

typedef struct tr_world tr_world;

// ---- the world: devices that share time ------------------------------------------------------

// A port of the top module. `bits` > 64 takes (bits + 31) / 32 words.
typedef struct {
    const char *name;
    uint32_t bits;
    uint32_t input;
} tr_pin;

// What ended a stride.
enum {
    TR_TIME = 0,   // `until` is reached
    TR_EDGE = 1,   // a watched clock is about to rise, see tr_watch
    TR_EVENT = 2,  // there is an event that Python should see now
    TR_WAKE = 3,   // what tr_wake waits for
};

tr_world *tr_new(uint32_t devices, uint64_t seed);
void tr_free(tr_world *world);
uint64_t tr_now(tr_world *world);

// Pins, by index: the same for each device.
uint32_t tr_pins(tr_world *world, const tr_pin **pins);

// Value of a pin, least significant word first. At an edge: before the edge.
void tr_peek(tr_world *world, uint32_t device, uint32_t pin, uint32_t *words);

// Set an input. During an edge (the last stride ended with TR_EDGE) it takes effect behind it.
void tr_poke(tr_world *world, uint32_t device, uint32_t pin, const uint32_t *words);

// Run a clock: the pin rises at now + `phase` and then every `period`, and falls half a period
// later. A period of 0 stops it.
void tr_clock(tr_world *world, uint32_t device, uint32_t pin, uint64_t period, uint64_t phase);

// Rising edges of a clock so far. So the first edge is cycle 0 wherever an event names a cycle.
uint64_t tr_cycles(tr_world *world, uint32_t device, uint32_t pin);

// Bit n set: strides end before each rising edge of clock pin n (its index among the pins).
// In force until changed.
void tr_watch(tr_world *world, uint32_t device, uint64_t pins);

// One stride: run until `until`, a watched edge, or an event. Returns TR_TIME, TR_EDGE, TR_EVENT.
// Edges that are due at `until` itself belong to the next stride.
int32_t tr_run(tr_world *world, uint64_t until);

// Strides also end soon after this file descriptor has become readable. -1: none.
void tr_wake(tr_world *world, int32_t fd);

// ---- events ----------------------------------------------------------------------------------

enum {
    TR_INTERRUPT = 1,     // a: message data, b: its address, c: function
    TR_COMPLETION = 2,    // a completer completion: payload = its dwords, descriptor first (PG213).
                          // a: 1 if discontinued
    TR_REQUEST = 3,       // a requester request that Python asked to see (tr_pcie.export_requests),
                          // payload = its dwords, descriptor first. a: first_be | last_be << 4,
                          // b: cycle of its last beat
    TR_TAKEN = 4,         // a read that Python has to answer (tr_pcie_fault): payload and a as
                          // above. There is no TR_DMA for it
    TR_DMA = 5,           // a request reached memory (tr_pcie.export_dma). a: write, b: address of
                          // its first byte, c: function, d: bytes
    TR_REFUSED = 6,       // host memory did not let a request through. a, b, c, d as above
    TR_FRAME_OUT = 7,     // a frame left a MAC port. a: port, b, c: cycle of first and last beat
    TR_FRAME_IN = 8,      // a frame of tr_port_send has entered. a: port, b, c: cycles, d: its number
    TR_PATTERN = 9,       // a pattern runs out (tr_port_pattern). a: port, b: which
    TR_BROKEN = 10,       // the design broke the rules of the interface. payload: text
    TR_LOCAL = 11,        // the block gave a read up. a: tag, b: error code of its RC descriptor
    TR_CLIENT_READ = 12,  // bytes of a client's memory are wanted. a: number for tr_answer,
                          // b: address, c: function, d: bytes
    TR_CLIENT_WRITE = 13, // bytes for a client's memory: payload. a, b, c, d as above
    TR_READ_COMPLETION = 14, // the last beat of a requester completion is on RC
                          // (tr_pcie.export_completions). payload = its dwords, descriptor first.
                          // a: 1 if discontinued
    TR_LINK_OUT = 15,     // a frame left a MAC port for a link (tr_port.export_links). As
                          // TR_FRAME_OUT
    TR_LINK_IN = 16,      // a frame from a link has entered. payload: the frame. a: port,
                          // b, c: cycles, d: 1 if it has the mark of a bad FCS
};

typedef struct {
    uint32_t kind;
    uint32_t device;
    uint64_t time;
    uint64_t a, b, c, d;
    uint32_t length;       // bytes of payload
    const uint8_t *data;   // valid until the next call of tr_run
} tr_event;

// Events since the last call, oldest first. Returns their number; the array lives until tr_run.
uint32_t tr_events(tr_world *world, const tr_event **events);

// ---- PCIe: the integrated block's TLP streams and host memory --------------------------------

// Settings and counters of a device's link, shared with Python, which writes the settings at any
// time between strides.
typedef struct {
    // Settings.
    uint64_t latency;         // ps from a read's last beat to its first completion's first
    uint64_t jitter;          // ps, up to so much is added at random
    uint32_t reorder;         // completions come from the oldest so many reads that are due
    uint32_t split;           // 0: at max_payload, 1: at each rcb, 2: at random multiples of rcb
    uint32_t rcb;             // read completion boundary, bytes
    uint32_t max_payload;     // bytes
    uint64_t timeout;         // ps until an unanswered read ends with a time-out; 0: never
    uint32_t export_requests; // 1: TR_REQUEST for every request
    uint32_t export_dma;      // 1: TR_DMA for every request
    uint32_t extended_tag;    // bit per function: tags 32 to 255 may be used
    uint32_t report_dropped;  // 1: writes dropped for want of Bus Master report their number
    uint32_t stall_rq;        // share of cycles in which no request is taken, of 256
    uint32_t stall_rc;        // share of cycles without a completion beat, of 256
    uint32_t bus_number;      // of the device, for requests without requester_id_enable
    uint32_t export_completions; // 1: TR_READ_COMPLETION for every completion
    // Counters, cleared by Python; cycles are of the user clock, all ones: none.
    uint64_t read_bytes, read_tlps, write_bytes, write_tlps, interrupts;
    uint64_t first_read, last_read, first_write, last_write, last_interrupt;
    uint64_t outstanding;     // reads under way, read only
} tr_pcie;

tr_pcie *tr_pcie_of(tr_world *world, uint32_t device);

// Host memory: `size` bytes from bus address `base`. `mapped` has a byte a 4 KiB page: bit n lets
// function n through (255: all). Both arrays stay Python's. Writes to 0xFEE00000 to 0xFEEFFFFF are
// interrupts.
void tr_memory(tr_world *world, uint32_t device, uint8_t *data, uint64_t base, uint64_t size,
               const uint8_t *mapped);

// A function with memory of its own, that of a client. It does not reach tr_memory.
typedef struct {
    // Settings.
    uint32_t own;             // 1: it has
    uint32_t reserved;
    uint64_t interrupt_base;  // bus address of the 4 KiB to which writes are its interrupts
    uint64_t message_limit;   // bytes of a TR_CLIENT_READ or TR_CLIENT_WRITE at most
    // Counters; those of DMA do not have what was refused.
    uint64_t read_bytes, read_tlps, write_bytes, write_tlps, interrupts;
    uint64_t refused[16];     // TLPs by reason, those of writes from 8 on
    uint64_t refused_at[16];  // address of the last one
    uint64_t waiting;         // reads that wait for the client, read only
    uint64_t held;            // requests behind writes that wait for the client, read only
} tr_space;

// Why a request was refused.
enum {
    TR_ALLOWED = 0,
    TR_NOT_MAPPED = 1,
    TR_NO_ACCESS = 2,     // the map is read-only, or write-only
    TR_NO_MASTER = 3,     // Bus Master is off
    TR_NO_MESSAGE = 4,    // a write to interrupt_base that is no whole dword
    TR_GONE = 5,          // the client's file has become shorter than the map
    TR_CLIENT_ERROR = 6,  // the client answered with an error
};

tr_space *tr_space_of(tr_world *world, uint32_t device, uint32_t function);

enum { TR_MAP_READ = 1, TR_MAP_WRITE = 2 };

// Map `size` bytes at bus address `base`: those of a file from `offset` on, or with `fd` = -1 bytes
// that the client is asked for. The file descriptor stays the caller's. Returns 0 or an errno.
int32_t tr_map(tr_world *world, uint32_t device, uint32_t function, int32_t fd, uint64_t offset,
               uint64_t base, uint64_t size, uint32_t access);
// Unmap exactly that. Behind it the core does not touch those bytes. Returns 0 or an errno.
int32_t tr_unmap(tr_world *world, uint32_t device, uint32_t function, uint64_t base,
                 uint64_t size);
void tr_unmap_all(tr_world *world, uint32_t device, uint32_t function);
// Nothing waits for the client any more: writes are dropped, reads refused.
void tr_space_end(tr_world *world, uint32_t device, uint32_t function);
// The client's answer to TR_CLIENT_READ, with its bytes, or to TR_CLIENT_WRITE.
void tr_answer(tr_world *world, uint32_t device, uint32_t function, uint64_t number,
               const uint8_t *data, uint64_t length, uint32_t good);

// Reads that touch [low, high) become TR_TAKEN events. Number of ranges; 0 clears all.
void tr_pcie_fault(tr_world *world, uint32_t device, const uint64_t *low, const uint64_t *high,
                   uint32_t count);

// A requester completion from Python: dwords, descriptor first; `discontinue` marks it bad. It
// goes out behind those that are on their way, as soon as RC takes it. If its descriptor has no
// error code, the block treats it as one from the link: it sets the error code, the upper bits of
// the lower address, and "request completed". With "request completed" the tag becomes free.
void tr_pcie_complete(tr_world *world, uint32_t device, const uint32_t *dwords, uint32_t count,
                      uint32_t discontinue);

// End every outstanding read of a function, or with `function` = 255 all, with this RC error code.
void tr_pcie_end(tr_world *world, uint32_t device, uint32_t function, uint32_t code);

// A completer request: dwords, descriptor first (PG213), and its byte enables.
void tr_pcie_request(tr_world *world, uint32_t device, const uint32_t *dwords, uint32_t count,
                     uint32_t first_be, uint32_t last_be);
// Completer requests that the design has not taken yet.
uint32_t tr_pcie_pending(tr_world *world, uint32_t device);

// ---- MAC ports -------------------------------------------------------------------------------

typedef struct {
    uint32_t rate;            // bytes a cycle at most into the device, in 1/256; 0: no limit
    uint32_t pause;           // 1: nothing enters
    uint32_t hold;            // 1: nothing leaves
    uint32_t spacing;         // cycles at least between the starts of two frames into the device
    uint32_t frame_stride;    // frames may wait so many cycles of the port for TR_EVENT; 0: none
    uint32_t export_links;    // 1: TR_LINK_OUT and TR_LINK_IN for frames of links
    uint64_t frames_in, bytes_in, frames_out, bytes_out;
    uint64_t waiting;         // frames queued to enter, read only
} tr_port;

tr_port *tr_port_of(tr_world *world, uint32_t device, uint32_t port);

// Queue a frame without FCS; `error` marks it as a MAC marks a bad FCS. Returns its number.
uint64_t tr_port_send(tr_world *world, uint32_t device, uint32_t port, const uint8_t *data,
                      uint32_t length, uint32_t error);

// Append to a pattern, a byte a cycle, 1: idle (which 0: into the device; asked once for each cycle
// in which a beat could be offered) or 1: not ready (which 1: out of it; asked each cycle).
// TR_PATTERN asks for more when it runs out; the cycles until then are all 0.
// A length of 0 ends the pattern.
void tr_port_pattern(tr_world *world, uint32_t device, uint32_t port, uint32_t which,
                     const uint8_t *stalls, uint32_t length);

// ---- device memory: behind AXI4 managers of the design, ports mem<N>__awid and so on ----------

// Settings and counters of a memory, shared with Python.
typedef struct {
    // Settings.
    uint64_t latency;         // ps from an address (of a write: its last beat too) to its response
    uint64_t jitter;          // ps, up to so much is added at random
    uint32_t reorder;         // responses come from the oldest so many bursts, in order for each id
    uint32_t interleave;      // 1: read data of several ids takes turns by the beat
    uint32_t outstanding;     // bursts that are taken before one is answered, each of both ways
    uint32_t stall_aw, stall_w, stall_b, stall_ar, stall_r; // shares of idle cycles, of 256
    // Counters. Bursts and errors are counted with their responses; errors of reads by the beat.
    uint64_t read_bursts, read_beats, write_bursts, write_beats, errors;
} tr_axi;

// A memory by its number, null if the top has no such ports. Its clock is mem<N>_clk, or clk.
tr_axi *tr_axi_of(tr_world *world, uint32_t device, uint32_t memory);

// Its contents: `size` bytes from address `base`, the array stays Python's. Anything else is
// answered with DECERR. A write is there when its response is offered, not before.
void tr_axi_memory(tr_world *world, uint32_t device, uint32_t memory, uint8_t *data, uint64_t base,
                   uint64_t size);

// Beats that touch [low, high) are answered with a response, 2: SLVERR or 3: DECERR, and not
// written. Number of ranges; 0 clears all.
void tr_axi_fault(tr_world *world, uint32_t device, uint32_t memory, const uint64_t *low,
                  const uint64_t *high, const uint32_t *response, uint32_t count);

// ---- links between ports of the world --------------------------------------------------------

// Shares are of a million frames. A corrupted frame enters with the mark of a bad FCS.
typedef struct {
    uint64_t delay;           // ps from the last beat out to the first beat in, at least
    uint32_t loss, duplicate, corrupt, reorder;
    uint64_t reorder_delay;   // ps that a reordered frame comes later
    uint64_t taken, lost, duplicated, corrupted, reordered, delivered;  // counters
    uint64_t under_way;       // frames on the cable, read only
    uint64_t arrived;         // counter: frames that came to its end, where they may have to wait
} tr_link;

// What leaves port `from_port` of device `from` enters port `to_port` of `to`, and is no
// TR_FRAME_OUT any more: TR_LINK_OUT and TR_LINK_IN if the ports export them. One direction; call
// it twice for a cable.
tr_link *tr_connect(tr_world *world, uint32_t from, uint32_t from_port, uint32_t to,
                    uint32_t to_port);

// ---- waves -----------------------------------------------------------------------------------

// Write FST of a device for the times in [from, to). Returns 0 if the library was built without.
int32_t tr_waves(tr_world *world, uint32_t device, const char *path, uint64_t from, uint64_t to);
// Flush what is written so far.
void tr_flush(tr_world *world);

// ---- profile ---------------------------------------------------------------------------------

// Note where the process is, `hz` times in a second of its CPU time; starts anew. 0: stop. Returns
// 0 if this machine cannot. There is one profile a process, whatever the worlds.
int32_t tr_profile(uint32_t hz);
// How often it was in each 16 bytes of the library's code, by address in the library's file (as nm
// tells it), and elsewhere. Returns the number of counts; they live until tr_profile.
uint32_t tr_samples(const uint32_t **counts, uint64_t *elsewhere);
