// SystemVerilog that Yosys's own reader does not take: a type as a parameter.
module typed #(
    parameter type T = logic [7:0]
) (
    input  logic clk,
    input  T     d,
    output T     q
);
    always_ff @(posedge clk) q <= d;
endmodule
