// Designs of known cost, for the tests of ./tailrace synth.

// 48 registers, a carry chain of 16 bits with a LUT a bit in front of it.
module adder #(parameter WIDTH = 16) (
    input clk, input [WIDTH-1:0] a, input [WIDTH-1:0] b, output reg [WIDTH-1:0] sum
);
    reg [WIDTH-1:0] first, second;
    always @(posedge clk) begin
        first <= a;
        second <= b;
        sum <= first + second;
    end
endmodule

// A few LUTs deep between registers: parity of 36 bits; one LUT behind an input.
module parity (input clk, input [35:0] data, input invert, output reg odd, output reg flipped);
    reg [35:0] held;
    always @(posedge clk) begin
        held <= data;
        odd <= ^held;
        flipped <= odd ^ invert;
    end
endmodule

// Two write ports: no RAM of either family has them.
module two_writers (
    input clk, input [3:0] p, input [3:0] q, input [3:0] r, input [7:0] x, input [7:0] y,
    output reg [7:0] z
);
    reg [7:0] slots [0:15];
    always @(posedge clk) begin
        slots[p] <= x;
        slots[q] <= y;
        z <= slots[r];
    end
endmodule

// A block RAM.
module one_writer (
    input clk, input write, input [9:0] p, input [9:0] r, input [31:0] x, output reg [31:0] z
);
    reg [31:0] words [0:1023];
    always @(posedge clk) begin
        if (write) words[p] <= x;
        z <= words[r];
    end
endmodule

// Exactly five LUTs deep: five instances of one, each of which is a LUT.
module link (input d, input e, input f, output p);
    assign p = d ? e & f : e ^ f;
endmodule

module chain (input clk, input [4:0] e, input [4:0] f, input d, output reg q);
    reg [4:0] left, right;
    reg start;
    wire [5:0] between;
    assign between[0] = start;
    link links [4:0] (.d(between[4:0]), .e(left), .f(right), .p(between[5:1]));
    always @(posedge clk) begin
        left <= e;
        right <= f;
        start <= d;
        q <= between[5];
    end
endmodule

// Nothing to map.
module wire_only (input a, output b);
    assign b = a;
endmodule

module no_ports;
    reg r;
endmodule

// Needs a module that is nowhere.
module orphan (input a, output b);
    missing_part inner (.a(a), .b(b));
endmodule

// A table that has no RAM, and one that is not to have any.
module tables (
  input wire [7:0] index,
  output wire [15:0] entry
);
  reg [7:0] found [0:255];
  (* ram_style = "logic" *)
  reg [7:0] asked [0:255];
  integer i;
  initial
    for (i = 0; i < 256; i = i + 1) begin
      found[i] = i * i >> 3;
      asked[i] = i * i >> 5;
    end
  assign entry = {asked[index], found[index]};
endmodule
