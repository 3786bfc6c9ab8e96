/** 32-bit cells of a slot: 16 of them fill one 64-byte cache line, so that no two slots share one. The last two say whose it is. */
export const CELLS_PER_SLOT = 16
