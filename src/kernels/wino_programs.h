/* wino_programs.h: made by tests/support/make_winograd.lua, which explains it; do not edit. Included by
 * conv_wino_body.h, which defines PROGRAM and the words that the programs are written in. */
/* clang-format off */

/* B^T: a window of the input to points */
/* 6 inputs, 6 outputs, 18 operations */
PROGRAM(in6_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = SUB(x1, x3);
    vf t1 = SUB(x2, x4);
    O(0, FMA(S(1.5), t0, ADD(FMA(S(-2), x2, x0), x4)));
    O(1, FMA(S(-0.5), x3, FMA(S(-2.5), x2, SUB(x4, x1))));
    O(2, ADD(FMA(S(-2.5), x3, FMA(S(0.5), x2, x1)), x4));
    O(3, SUB(MUL(S(-0.5), t0), t1));
    O(4, SUB(MUL(S(2), t0), t1));
    O(5, FMA(S(1.5), t1, ADD(FMA(S(-2), x3, x1), x5)));
)
/* 6 inputs, 5 outputs, 15 operations */
PROGRAM(in6_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = SUB(x1, x3);
    vf t1 = SUB(x2, x4);
    O(0, FMA(S(1.5), t0, ADD(FMA(S(-2), x2, x0), x4)));
    O(1, FMA(S(-0.5), x3, FMA(S(-2.5), x2, SUB(x4, x1))));
    O(2, ADD(FMA(S(-2.5), x3, FMA(S(0.5), x2, x1)), x4));
    O(3, SUB(MUL(S(-0.5), t0), t1));
    O(4, SUB(MUL(S(2), t0), t1));
)
/* 6 inputs, 5 outputs, 15 operations */
PROGRAM(in6_behind,
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = SUB(x2, x4);
    vf t1 = SUB(x1, x3);
    O(0, FMA(S(-0.5), x3, FMA(S(-2.5), x2, SUB(x4, x1))));
    O(1, ADD(FMA(S(-2.5), x3, FMA(S(0.5), x2, x1)), x4));
    O(2, FMA(S(-0.5), t1, NEG(t0)));
    O(3, FMA(S(2), t1, NEG(t0)));
    O(4, FMA(S(1.5), t0, ADD(FMA(S(-2), x3, x1), x5)));
)
/* 6 inputs, 4 outputs, 12 operations */
PROGRAM(in6_middle,
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = SUB(x1, x3);
    vf t1 = SUB(x2, x4);
    O(0, FMA(S(-0.5), x3, FMA(S(-2.5), x2, SUB(x4, x1))));
    O(1, ADD(FMA(S(-2.5), x3, FMA(S(0.5), x2, x1)), x4));
    O(2, SUB(MUL(S(-0.5), t0), t1));
    O(3, SUB(MUL(S(2), t0), t1));
)
/* 8 inputs, 8 outputs, 26 operations */
PROGRAM(in8_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf x6 = I(6);
    vf x7 = I(7);
    vf t0 = ADD(x1, x5);
    vf t1 = ADD(x2, x6);
    vf t2 = FMA(S(-0.23529411764705882), t0, x3);
    vf t3 = FMA(S(-0.23529411764705882), t1, x4);
    vf t4 = FMA(S(-5), x3, x1);
    vf t5 = FMA(S(-5), x4, x2);
    vf t6 = FMA(S(0.25), t4, x5);
    vf t7 = FMA(S(0.25), t5, x6);
    vf t8 = FMA(S(-1.25), x3, x1);
    vf t9 = FMA(S(-1.25), x4, x2);
    vf t10 = FMA(S(4), t8, x5);
    vf t11 = FMA(S(4), t9, x6);
    O(0, FMA(S(-5.25), x4, FMA(S(5.25), x2, SUB(x6, x0))));
    O(1, FMA(S(-4.25), t3, MUL(S(-4.25), t2)));
    O(2, FMA(S(-4.25), t3, MUL(S(4.25), t2)));
    O(3, FMA(S(2), t6, t7));
    O(4, FMA(S(-2), t6, t7));
    O(5, FMA(S(0.5), t10, t11));
    O(6, FMA(S(-0.5), t10, t11));
    O(7, FMA(S(-5.25), x5, FMA(S(5.25), x3, SUB(x7, x1))));
)

/* A^T: points to outputs */
/* 6 inputs, 4 outputs, 12 operations */
PROGRAM(out6_4_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = ADD(x1, x2);
    vf t1 = SUB(x1, x2);
    O(0, ADD(ADD(ADD(x0, x3), x4), t0));
    O(1, FMA(S(-0.5), x4, FMA(S(2), x3, t1)));
    O(2, FMA(S(0.25), x4, FMA(S(4), x3, t0)));
    O(3, ADD(FMA(S(-0.125), x4, FMA(S(8), x3, x5)), t1));
)
/* 5 inputs, 4 outputs, 11 operations */
PROGRAM(out6_4_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = ADD(x1, x2);
    vf t1 = SUB(x1, x2);
    O(0, ADD(ADD(ADD(x0, x3), x4), t0));
    O(1, FMA(S(-0.5), x4, FMA(S(2), x3, t1)));
    O(2, FMA(S(0.25), x4, FMA(S(4), x3, t0)));
    O(3, FMA(S(-0.125), x4, FMA(S(8), x3, t1)));
)
/* 5 inputs, 4 outputs, 11 operations */
PROGRAM(out6_4_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = ADD(x0, x1);
    vf t1 = SUB(x0, x1);
    O(0, ADD(ADD(x2, x3), t0));
    O(1, FMA(S(-0.5), x3, FMA(S(2), x2, t1)));
    O(2, FMA(S(0.25), x3, FMA(S(4), x2, t0)));
    O(3, ADD(FMA(S(-0.125), x3, FMA(S(8), x2, x4)), t1));
)
/* 4 inputs, 4 outputs, 10 operations */
PROGRAM(out6_4_middle,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = ADD(x0, x1);
    vf t1 = SUB(x0, x1);
    O(0, ADD(ADD(x2, x3), t0));
    O(1, FMA(S(-0.5), x3, FMA(S(2), x2, t1)));
    O(2, FMA(S(0.25), x3, FMA(S(4), x2, t0)));
    O(3, FMA(S(-0.125), x3, FMA(S(8), x2, t1)));
)
/* 6 inputs, 3 outputs, 10 operations */
PROGRAM(out6_3_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = ADD(x1, x2);
    O(0, ADD(ADD(ADD(x0, x3), x4), t0));
    O(1, FMA(S(-0.5), x4, FMA(S(2), x3, SUB(x1, x2))));
    O(2, ADD(FMA(S(0.25), x4, FMA(S(4), x3, x5)), t0));
)
/* 6 inputs, 2 outputs, 8 operations */
PROGRAM(out6_2_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    O(0, ADD(ADD(ADD(ADD(x0, x1), x2), x3), x4));
    O(1, ADD(FMA(S(-0.5), x4, FMA(S(2), x3, SUB(x1, x2))), x5));
)
/* 8 inputs, 4 outputs, 16 operations */
PROGRAM(out8_4_all,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf x6 = I(6);
    vf x7 = I(7);
    vf t0 = ADD(x1, x2);
    vf t1 = ADD(x3, x4);
    vf t2 = ADD(x5, x6);
    vf t3 = SUB(x1, x2);
    vf t4 = SUB(x3, x4);
    vf t5 = SUB(x5, x6);
    O(0, ADD(ADD(ADD(x0, t0), t1), t2));
    O(1, FMA(S(0.5), t5, FMA(S(2), t4, t3)));
    O(2, FMA(S(0.25), t2, FMA(S(4), t1, t0)));
    O(3, FMA(S(0.125), t5, FMA(S(8), t4, ADD(x7, t3))));
)

/* A: gradients of outputs to points */
/* 4 inputs, 6 outputs, 10 operations */
PROGRAM(lift6_4,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    O(0, x0);
    O(1, ADD(t0, t1));
    O(2, SUB(t0, t1));
    O(3, FMA(S(8), x3, FMA(S(4), x2, FMA(S(2), x1, x0))));
    O(4, FMA(S(-0.125), x3, FMA(S(0.25), x2, FMA(S(-0.5), x1, x0))));
    O(5, x3);
)
/* 3 inputs, 6 outputs, 7 operations */
PROGRAM(lift6_3,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf t0 = ADD(x0, x2);
    O(0, x0);
    O(1, ADD(x1, t0));
    O(2, SUB(t0, x1));
    O(3, FMA(S(4), x2, FMA(S(2), x1, x0)));
    O(4, FMA(S(0.25), x2, FMA(S(-0.5), x1, x0)));
    O(5, x2);
)
/* 2 inputs, 6 outputs, 4 operations */
PROGRAM(lift6_2,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, x0);
    O(1, ADD(x0, x1));
    O(2, SUB(x0, x1));
    O(3, FMA(S(2), x1, x0));
    O(4, FMA(S(-0.5), x1, x0));
    O(5, x1);
)
/* 4 inputs, 5 outputs, 10 operations */
PROGRAM(lift6_4_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    O(0, x0);
    O(1, ADD(t0, t1));
    O(2, SUB(t0, t1));
    O(3, FMA(S(8), x3, FMA(S(4), x2, FMA(S(2), x1, x0))));
    O(4, FMA(S(-0.125), x3, FMA(S(0.25), x2, FMA(S(-0.5), x1, x0))));
)
/* 4 inputs, 8 outputs, 12 operations */
PROGRAM(lift8_4,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    vf t2 = FMA(S(4), x2, x0);
    vf t3 = FMA(S(4), x3, x1);
    vf t4 = FMA(S(0.25), x2, x0);
    vf t5 = FMA(S(0.25), x3, x1);
    O(0, x0);
    O(1, ADD(t0, t1));
    O(2, SUB(t0, t1));
    O(3, FMA(S(2), t3, t2));
    O(4, FMA(S(-2), t3, t2));
    O(5, FMA(S(0.5), t5, t4));
    O(6, FMA(S(-0.5), t5, t4));
    O(7, x3);
)

/* G: taps to points, and its transpose */
/* 3 inputs, 6 outputs, 11 operations */
PROGRAM(taps6_3,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf t0 = ADD(x0, x2);
    O(0, x0);
    O(1, FMA(S(-0.33333333333333331), t0, MUL(S(-0.33333333333333331), x1)));
    O(2, FMA(S(0.33333333333333331), t0, MUL(S(-0.33333333333333331), x1)));
    O(3, FMA(S(0.26666666666666666), x2, FMA(S(0.13333333333333333), x1, MUL(S(0.066666666666666666), x0))));
    O(4, FMA(S(-0.26666666666666666), x2, FMA(S(0.53333333333333333), x1, MUL(S(-1.0666666666666667), x0))));
    O(5, x2);
)
/* 6 inputs, 3 outputs, 11 operations */
PROGRAM(untaps6_3,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = SUB(x1, x2);
    O(0, FMA(S(-0.33333333333333331), t0, FMA(S(-1.0666666666666667), x4, FMA(S(0.066666666666666666), x3, x0))));
    O(1, FMA(S(0.53333333333333333), x4, FMA(S(0.13333333333333333), x3, FMA(S(-0.33333333333333331), x2, MUL(S(-0.33333333333333331), x1)))));
    O(2, FMA(S(-0.33333333333333331), t0, FMA(S(-0.26666666666666666), x4, FMA(S(0.26666666666666666), x3, x5))));
)
/* 2 inputs, 5 outputs, 8 operations */
PROGRAM(taps6_2_front,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, x0);
    O(1, FMA(S(-0.33333333333333331), x1, MUL(S(-0.33333333333333331), x0)));
    O(2, FMA(S(-0.33333333333333331), x1, MUL(S(0.33333333333333331), x0)));
    O(3, FMA(S(0.13333333333333333), x1, MUL(S(0.066666666666666666), x0)));
    O(4, FMA(S(0.53333333333333333), x1, MUL(S(-1.0666666666666667), x0)));
)
/* 5 inputs, 2 outputs, 8 operations */
PROGRAM(untaps6_2_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    O(0, FMA(S(-1.0666666666666667), x4, FMA(S(0.066666666666666666), x3, FMA(S(0.33333333333333331), x2, FMA(S(-0.33333333333333331), x1, x0)))));
    O(1, FMA(S(0.53333333333333333), x4, FMA(S(0.13333333333333333), x3, FMA(S(-0.33333333333333331), x2, MUL(S(-0.33333333333333331), x1)))));
)
/* 2 inputs, 5 outputs, 8 operations */
PROGRAM(taps6_2_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    O(0, FMA(S(-0.33333333333333331), x1, MUL(S(-0.33333333333333331), x0)));
    O(1, FMA(S(0.33333333333333331), x1, MUL(S(-0.33333333333333331), x0)));
    O(2, FMA(S(0.26666666666666666), x1, MUL(S(0.13333333333333333), x0)));
    O(3, FMA(S(-0.26666666666666666), x1, MUL(S(0.53333333333333333), x0)));
    O(4, x1);
)
/* 5 inputs, 2 outputs, 8 operations */
PROGRAM(untaps6_2_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    O(0, FMA(S(0.53333333333333333), x3, FMA(S(0.13333333333333333), x2, FMA(S(-0.33333333333333331), x1, MUL(S(-0.33333333333333331), x0)))));
    O(1, FMA(S(-0.26666666666666666), x3, FMA(S(0.26666666666666666), x2, FMA(S(0.33333333333333331), x1, FMA(S(-0.33333333333333331), x0, x4)))));
)
/* 1 inputs, 5 outputs, 4 operations */
PROGRAM(taps6_1_front,
    vf x0 = I(0);
    O(0, x0);
    O(1, MUL(S(-0.33333333333333331), x0));
    O(2, MUL(S(0.33333333333333331), x0));
    O(3, MUL(S(0.066666666666666666), x0));
    O(4, MUL(S(-1.0666666666666667), x0));
)
/* 5 inputs, 1 outputs, 4 operations */
PROGRAM(untaps6_1_front,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    O(0, FMA(S(-1.0666666666666667), x4, FMA(S(0.066666666666666666), x3, FMA(S(0.33333333333333331), x2, FMA(S(-0.33333333333333331), x1, x0)))));
)
/* 1 inputs, 4 outputs, 4 operations */
PROGRAM(taps6_1_middle,
    vf x0 = I(0);
    O(0, MUL(S(-0.33333333333333331), x0));
    O(1, MUL(S(-0.33333333333333331), x0));
    O(2, MUL(S(0.13333333333333333), x0));
    O(3, MUL(S(0.53333333333333333), x0));
)
/* 4 inputs, 1 outputs, 4 operations */
PROGRAM(untaps6_1_middle,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    O(0, FMA(S(0.53333333333333333), x3, FMA(S(0.13333333333333333), x2, FMA(S(-0.33333333333333331), x1, MUL(S(-0.33333333333333331), x0)))));
)
/* 1 inputs, 5 outputs, 4 operations */
PROGRAM(taps6_1_behind,
    vf x0 = I(0);
    O(0, MUL(S(-0.33333333333333331), x0));
    O(1, MUL(S(0.33333333333333331), x0));
    O(2, MUL(S(0.26666666666666666), x0));
    O(3, MUL(S(-0.26666666666666666), x0));
    O(4, x0);
)
/* 5 inputs, 1 outputs, 4 operations */
PROGRAM(untaps6_1_behind,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    O(0, FMA(S(-0.26666666666666666), x3, FMA(S(0.26666666666666666), x2, FMA(S(0.33333333333333331), x1, FMA(S(-0.33333333333333331), x0, x4)))));
)
/* 4 inputs, 6 outputs, 14 operations */
PROGRAM(taps6_4,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    O(0, x0);
    O(1, FMA(S(-0.33333333333333331), t1, MUL(S(-0.33333333333333331), t0)));
    O(2, FMA(S(-0.33333333333333331), t1, MUL(S(0.33333333333333331), t0)));
    O(3, FMA(S(0.53333333333333333), x3, FMA(S(0.26666666666666666), x2, FMA(S(0.13333333333333333), x1, MUL(S(0.066666666666666666), x0)))));
    O(4, FMA(S(0.13333333333333333), x3, FMA(S(-0.26666666666666666), x2, FMA(S(0.53333333333333333), x1, MUL(S(-1.0666666666666667), x0)))));
    O(5, x3);
)
/* 6 inputs, 4 outputs, 14 operations */
PROGRAM(untaps6_4,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = SUB(x1, x2);
    vf t1 = ADD(x1, x2);
    O(0, FMA(S(-0.33333333333333331), t0, FMA(S(-1.0666666666666667), x4, FMA(S(0.066666666666666666), x3, x0))));
    O(1, FMA(S(-0.33333333333333331), t1, FMA(S(0.53333333333333333), x4, MUL(S(0.13333333333333333), x3))));
    O(2, FMA(S(-0.33333333333333331), t0, FMA(S(-0.26666666666666666), x4, MUL(S(0.26666666666666666), x3))));
    O(3, FMA(S(-0.33333333333333331), t1, FMA(S(0.13333333333333333), x4, FMA(S(0.53333333333333333), x3, x5))));
)
/* 5 inputs, 6 outputs, 17 operations */
PROGRAM(taps6_5,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    vf t2 = ADD(x4, t0);
    O(0, x0);
    O(1, FMA(S(-0.33333333333333331), t2, MUL(S(-0.33333333333333331), t1)));
    O(2, FMA(S(0.33333333333333331), t2, MUL(S(-0.33333333333333331), t1)));
    O(3, FMA(S(1.0666666666666667), x4, FMA(S(0.53333333333333333), x3, FMA(S(0.26666666666666666), x2, FMA(S(0.13333333333333333), x1, MUL(S(0.066666666666666666), x0))))));
    O(4, FMA(S(-0.066666666666666666), x4, FMA(S(0.13333333333333333), x3, FMA(S(-0.26666666666666666), x2, FMA(S(0.53333333333333333), x1, MUL(S(-1.0666666666666667), x0))))));
    O(5, x4);
)
/* 6 inputs, 5 outputs, 17 operations */
PROGRAM(untaps6_5,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf t0 = SUB(x1, x2);
    vf t1 = ADD(x1, x2);
    O(0, FMA(S(-0.33333333333333331), t0, FMA(S(-1.0666666666666667), x4, FMA(S(0.066666666666666666), x3, x0))));
    O(1, FMA(S(-0.33333333333333331), t1, FMA(S(0.53333333333333333), x4, MUL(S(0.13333333333333333), x3))));
    O(2, FMA(S(-0.33333333333333331), t0, FMA(S(-0.26666666666666666), x4, MUL(S(0.26666666666666666), x3))));
    O(3, FMA(S(-0.33333333333333331), t1, FMA(S(0.13333333333333333), x4, MUL(S(0.53333333333333333), x3))));
    O(4, FMA(S(-0.33333333333333331), t0, FMA(S(-0.066666666666666666), x4, FMA(S(1.0666666666666667), x3, x5))));
)
/* 5 inputs, 8 outputs, 22 operations */
PROGRAM(taps8_5,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf t0 = ADD(x0, x2);
    vf t1 = ADD(x1, x3);
    vf t2 = ADD(x4, t0);
    vf t3 = FMA(S(4), x2, x0);
    vf t4 = FMA(S(4), x3, x1);
    vf t5 = FMA(S(0.0625), t3, x4);
    vf t6 = FMA(S(0.25), x2, x0);
    vf t7 = FMA(S(0.25), x3, x1);
    vf t8 = FMA(S(16), t6, x4);
    O(0, NEG(x0));
    O(1, FMA(S(-0.22222222222222221), t2, MUL(S(-0.22222222222222221), t1)));
    O(2, FMA(S(-0.22222222222222221), t2, MUL(S(0.22222222222222221), t1)));
    O(3, FMA(S(0.17777777777777778), t5, MUL(S(0.022222222222222223), t4)));
    O(4, FMA(S(0.17777777777777778), t5, MUL(S(-0.022222222222222223), t4)));
    O(5, FMA(S(0.044444444444444446), t8, MUL(S(0.35555555555555557), t7)));
    O(6, FMA(S(0.044444444444444446), t8, MUL(S(-0.35555555555555557), t7)));
    O(7, x4);
)
/* 8 inputs, 5 outputs, 22 operations */
PROGRAM(untaps8_5,
    vf x0 = I(0);
    vf x1 = I(1);
    vf x2 = I(2);
    vf x3 = I(3);
    vf x4 = I(4);
    vf x5 = I(5);
    vf x6 = I(6);
    vf x7 = I(7);
    vf t0 = ADD(x1, x2);
    vf t1 = ADD(x3, x4);
    vf t2 = ADD(x5, x6);
    vf t3 = SUB(x1, x2);
    vf t4 = SUB(x3, x4);
    vf t5 = SUB(x5, x6);
    O(0, FMA(S(0.71111111111111114), t2, FMA(S(0.011111111111111112), t1, FMA(S(-0.22222222222222221), t0, NEG(x0)))));
    O(1, FMA(S(0.35555555555555557), t5, FMA(S(0.022222222222222223), t4, MUL(S(-0.22222222222222221), t3))));
    O(2, FMA(S(0.17777777777777778), t2, FMA(S(0.044444444444444446), t1, MUL(S(-0.22222222222222221), t0))));
    O(3, FMA(S(0.088888888888888892), t5, FMA(S(0.088888888888888892), t4, MUL(S(-0.22222222222222221), t3))));
    O(4, FMA(S(0.044444444444444446), t2, FMA(S(0.17777777777777778), t1, FMA(S(-0.22222222222222221), t0, x7))));
)
/* clang-format on */
