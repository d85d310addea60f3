/* wino_edge_programs.h: made by tests/support/make_winograd.lua, which explains it; do not edit. Included by
 * conv_wino_body.h, which defines PROGRAM and the words that the programs are written in. */
/* clang-format off */

/* a last tile of 3: B^T, A^T, A */
/* 5 inputs, 6 outputs, 12 operations */
PROGRAM(edge_in3_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = SUB(x1, x3);
    O(0, FMA(S(2), t0, SUB(x0, x2)));
    O(1, SUB(FMA(S(-1.5), x2, MUL(S(-0.5), x1)), x3));
    O(2, FMA(S(-3), x3, FMA(S(1.5), x2, MUL(S(1.5), x1))));
    O(4, MUL(S(2.5), t0));
    O(5, FMA(S(-0.5), t0, SUB(x4, x2)));
)
/* 5 inputs, 5 outputs, 10 operations */
PROGRAM(edge_in3_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = SUB(x1, x3);
    O(0, FMA(S(2), t0, SUB(x0, x2)));
    O(1, SUB(FMA(S(-1.5), x2, MUL(S(-0.5), x1)), x3));
    O(2, FMA(S(-3), x3, FMA(S(1.5), x2, MUL(S(1.5), x1))));
    O(4, MUL(S(2.5), t0));
)
/* 5 inputs, 5 outputs, 10 operations */
PROGRAM(edge_in3_behind,
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = SUB(x1, x3);
    O(0, SUB(FMA(S(-1.5), x2, MUL(S(-0.5), x1)), x3));
    O(1, FMA(S(-3), x3, FMA(S(1.5), x2, MUL(S(1.5), x1))));
    O(3, MUL(S(2.5), t0));
    O(4, FMA(S(-0.5), t0, SUB(x4, x2)));
)
/* 5 inputs, 4 outputs, 8 operations */
PROGRAM(edge_in3_middle,
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    O(0, SUB(FMA(S(-1.5), x2, MUL(S(-0.5), x1)), x3));
    O(1, FMA(S(-3), x3, FMA(S(1.5), x2, MUL(S(1.5), x1))));
    O(3, FMA(S(-2.5), x3, MUL(S(2.5), x1)));
)
/* 6 inputs, 3 outputs, 7 operations */
PROGRAM(edge_out3_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = ADD(x1, x2);
    O(0, ADD(ADD(x0, x4), t0));
    O(1, FMA(S(-0.5), x4, SUB(x1, x2)));
    O(2, ADD(FMA(S(0.25), x4, x5), t0));
)
/* 5 inputs, 3 outputs, 6 operations */
PROGRAM(edge_out3_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x4 = I(4);
    vf t0 = ADD(x1, x2);
    O(0, ADD(ADD(x0, x4), t0));
    O(1, FMA(S(-0.5), x4, SUB(x1, x2)));
    O(2, FMA(S(0.25), x4, t0));
)
/* 5 inputs, 3 outputs, 6 operations */
PROGRAM(edge_out3_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = ADD(x0, x1);
    O(0, ADD(x3, t0));
    O(1, FMA(S(-0.5), x3, SUB(x0, x1)));
    O(2, ADD(FMA(S(0.25), x3, x4), t0));
)
/* 4 inputs, 3 outputs, 5 operations */
PROGRAM(edge_out3_middle,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x3 = I(3);
    vf t0 = ADD(x0, x1);
    O(0, ADD(x3, t0));
    O(1, FMA(S(-0.5), x3, SUB(x0, x1)));
    O(2, FMA(S(0.25), x3, t0));
)
/* 3 inputs, 6 outputs, 5 operations */
PROGRAM(edge_lift3_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf t0 = ADD(x0, x2);
    O(0, x0);
    O(1, ADD(x1, t0));
    O(2, SUB(t0, x1));
    O(4, FMA(S(0.25), x2, FMA(S(-0.5), x1, x0)));
    O(5, x2);
)
/* 3 inputs, 5 outputs, 5 operations */
PROGRAM(edge_lift3_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf t0 = ADD(x0, x2);
    O(0, x0);
    O(1, ADD(x1, t0));
    O(2, SUB(t0, x1));
    O(4, FMA(S(0.25), x2, FMA(S(-0.5), x1, x0)));
)

/* a last tile of 2: B^T, A^T, A */
/* 4 inputs, 6 outputs, 6 operations */
PROGRAM(edge_in2_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    O(0, SUB(x0, x2));
    O(1, FMA(S(-1.5), x2, MUL(S(-1.5), x1)));
    O(2, FMA(S(1.5), x2, MUL(S(-1.5), x1)));
    O(5, SUB(x3, x1));
)
/* 4 inputs, 5 outputs, 5 operations */
PROGRAM(edge_in2_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    O(0, SUB(x0, x2));
    O(1, FMA(S(-1.5), x2, MUL(S(-1.5), x1)));
    O(2, FMA(S(1.5), x2, MUL(S(-1.5), x1)));
)
/* 4 inputs, 5 outputs, 5 operations */
PROGRAM(edge_in2_behind,
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    O(0, FMA(S(-1.5), x2, MUL(S(-1.5), x1)));
    O(1, FMA(S(1.5), x2, MUL(S(-1.5), x1)));
    O(4, SUB(x3, x1));
)
/* 4 inputs, 4 outputs, 4 operations */
PROGRAM(edge_in2_middle,
    vf x1 = I(1);
    vf x2 = I(2);
    O(0, FMA(S(-1.5), x2, MUL(S(-1.5), x1)));
    O(1, FMA(S(1.5), x2, MUL(S(-1.5), x1)));
)
/* 6 inputs, 2 outputs, 4 operations */
PROGRAM(edge_out2_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x5 = I(5);
    O(0, ADD(ADD(x0, x1), x2));
    O(1, ADD(SUB(x1, x2), x5));
)
/* 5 inputs, 2 outputs, 3 operations */
PROGRAM(edge_out2_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    O(0, ADD(ADD(x0, x1), x2));
    O(1, SUB(x1, x2));
)
/* 5 inputs, 2 outputs, 3 operations */
PROGRAM(edge_out2_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x4 = I(4);
    O(0, ADD(x0, x1));
    O(1, ADD(SUB(x0, x1), x4));
)
/* 4 inputs, 2 outputs, 2 operations */
PROGRAM(edge_out2_middle,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, ADD(x0, x1));
    O(1, SUB(x0, x1));
)
/* 2 inputs, 6 outputs, 2 operations */
PROGRAM(edge_lift2_all,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, x0);
    O(1, ADD(x0, x1));
    O(2, SUB(x0, x1));
    O(5, x1);
)
/* 2 inputs, 5 outputs, 2 operations */
PROGRAM(edge_lift2_front,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, x0);
    O(1, ADD(x0, x1));
    O(2, SUB(x0, x1));
)

/* a last tile of 1: B^T, A^T, A */
/* 3 inputs, 6 outputs, 3 operations */
PROGRAM(edge_in1_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    O(0, SUB(x0, x1));
    O(1, MUL(S(-3), x1));
    O(5, SUB(x2, x1));
)
/* 3 inputs, 5 outputs, 2 operations */
PROGRAM(edge_in1_front,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, SUB(x0, x1));
    O(1, MUL(S(-3), x1));
)
/* 3 inputs, 5 outputs, 2 operations */
PROGRAM(edge_in1_behind,
    vf x1 = I(1);
    vf x2 = I(2);
    O(0, MUL(S(-3), x1));
    O(4, SUB(x2, x1));
)
/* 3 inputs, 4 outputs, 1 operations */
PROGRAM(edge_in1_middle,
    vf x1 = I(1);
    O(0, MUL(S(-3), x1));
)
/* 6 inputs, 1 outputs, 2 operations */
PROGRAM(edge_out1_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x5 = I(5);
    O(0, ADD(ADD(x0, x1), x5));
)
/* 5 inputs, 1 outputs, 1 operations */
PROGRAM(edge_out1_front,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, ADD(x0, x1));
)
/* 5 inputs, 1 outputs, 1 operations */
PROGRAM(edge_out1_behind,
    vf x0 = I(0);
    vf x4 = I(4);
    O(0, ADD(x0, x4));
)
/* 4 inputs, 1 outputs, 0 operations */
PROGRAM(edge_out1_middle,
    vf x0 = I(0);
    O(0, x0);
)
/* 1 inputs, 6 outputs, 0 operations */
PROGRAM(edge_lift1_all,
    vf x0 = I(0);
    O(0, x0);
    O(1, x0);
    O(5, x0);
)
/* 1 inputs, 5 outputs, 0 operations */
PROGRAM(edge_lift1_front,
    vf x0 = I(0);
    O(0, x0);
    O(1, x0);
)
/* clang-format on */
