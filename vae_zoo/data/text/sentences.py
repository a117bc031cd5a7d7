"""Sentences drawn from a small grammar."""

from __future__ import annotations

import numpy as np

TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "sea": {
        "who": ("sailor", "captain", "fisher", "diver"),
        "does": ("sees", "follows", "paints", "finds"),
        "what": ("boat", "whale", "island", "harbour"),
        "how": ("blue", "salty", "windy", "deep"),
    },
    "kitchen": {
        "who": ("cook", "baker", "waiter", "guest"),
        "does": ("tastes", "bakes", "stirs", "serves"),
        "what": ("soup", "bread", "cake", "pepper"),
        "how": ("hot", "sweet", "burnt", "fresh"),
    },
    "forest": {
        "who": ("hunter", "ranger", "painter", "child"),
        "does": ("hears", "climbs", "hides", "meets"),
        "what": ("owl", "tree", "fox", "river"),
        "how": ("dark", "green", "silent", "tall"),
    },
    "town": {
        "who": ("driver", "mayor", "teacher", "tourist"),
        "does": ("visits", "crosses", "photographs", "leaves"),
        "what": ("bridge", "market", "museum", "tram"),
        "how": ("crowded", "old", "noisy", "grey"),
    },
}
"""Words of each topic."""


def draw_sentences(num: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sentences of four topics, (N,), and their topics, (N,), the same for the same numbers.

    Args:
        num: Number N of sentences.
        seed: Seed of the draw.
    """
    random = np.random.default_rng(seed)
    names = sorted(TOPICS)
    texts, topics = [], []
    for _ in range(num):
        topic = names[random.integers(len(names))]
        words = TOPICS[topic]

        def some(kind: str, words: dict[str, tuple[str, ...]] = words) -> str:
            how = [str(random.choice(words["how"]))] if random.random() < 0.5 else []
            return " ".join(["the", *how, str(random.choice(words[kind]))])

        parts = [some("who"), str(random.choice(words["does"])), some("what")]
        if random.random() < 0.4:
            parts += ["and", str(random.choice(words["does"])), some("what")]
        texts.append(" ".join([*parts, "."]))
        topics.append(topic)
    return np.array(texts), np.array(topics)
