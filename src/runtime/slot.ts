/** 32-bit cells of a slot: 16 fill one 64-byte cache line, so that no two slots share one. The last two hold the owner. */
export const CELLS_PER_SLOT = 16
