// Stands for modules of node that a dependency names and nobody here calls.

export class EventEmitter {}
