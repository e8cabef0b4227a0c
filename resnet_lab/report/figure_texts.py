"""Explanations of figures, which pages fold away beside each under “What is this?”."""

FIGURE_TEXTS: dict[str, tuple[str, str]] = {
    # a study
    "effects": (
        "the differences",
        "Each row is a change, its mark the mean difference in the score over all seeds: right of the line the score "
        "is higher. A seed is one repetition of the whole training from other random numbers. The thick line is the "
        "95% interval: in 95 of 100 such studies it holds the true difference. If it crosses 0, this study cannot "
        "tell the change from none, which does not prove that there is no effect. The thin line is wider because it "
        "allows for all rows at once; the grey band, if there is one, is the margin within which a difference does "
        "not matter.",
    ),
    "interaction": (
        "the interaction",
        "Two parts were changed together and one at a time. Parallel lines mean that one change does as much with the "
        "other as without it; lines that converge or cross mean that their effects depend on each other. Bars are 95% "
        "intervals, which often are too wide to tell.",
    ),
    "study pareto": (
        "score against cost",
        "Each point is one network: to the left it is cheaper, higher up it is better. Networks on the line are those "
        "that no other beats in both at once (the Pareto front): any other has a better choice. Bars are 95% "
        "intervals; where they overlap, the order of two networks is not certain.",
    ),
    "study curves": (
        "the learning curves",
        "An epoch is one pass over the training images; after each, the network is tested on the validation part, "
        "images that it does not learn from. Accuracy should rise and loss, a measure of how wrong the probabilities "
        "are, should fall. A loss that rises again shows that the network learns its training images by heart.",
    ),
    "classes": (
        "the change of each class",
        "Recall is the share of a class's images that are recognised. Each row shows by how much it changed, with a "
        "95% interval over seeds. With many classes some intervals miss 0 by chance alone, so read this as a hint of "
        "where to look, and not as a result.",
    ),
    "errors": (
        "works fixed and broken",
        "Fixed are test images that the changed network has right and the baseline wrong; broken, the reverse. A "
        "change of little effect on the score may still fix and break many, as two trainings from other random "
        "numbers do.",
    ),
    "study works": (
        "these works",
        "Images whose answer changed at most of the seeds at which they were tested. They were picked because they "
        "changed, so they show what a change can look like, and not how often it happens.",
    ),
    # a run
    "ribbon": (
        "the stripe",
        "Every scored image as a thin slice, grouped by class from the largest to the smallest: blue where the "
        "network was right, red where it was wrong. Point at it to read a class.",
    ),
    "headline": (
        "these figures",
        "Each dot is a figure, the bar its 95% interval: how far it might differ if other images of the same kind had "
        "been scored. Accuracy is the share of right answers; macro figures give rare classes the weight of common "
        "ones.",
    ),
    "losses": (
        "the losses",
        "The loss measures how wrong the network's probabilities are, after each pass over the training images; lower "
        "is better. Training images are those it learns from, validation images are not. Where the validation loss "
        "rises while the training loss falls, the network learns its images by heart (overfitting).",
    ),
    "accuracies": (
        "the accuracies",
        "The mean over the classes of the share recognised, after each pass over the training images. The distance "
        "between the two lines is what the network knows of its training images but not of others; training images "
        "are augmented and so harder, which narrows it.",
    ),
    "confusion": (
        "the matrix",
        "Each row is a true class, each column an answer. Blue cells on the diagonal are right answers, red ones are "
        "mistakes; the darker, the larger the share of the row. Two red cells that mirror each other are two classes "
        "that the network cannot tell apart.",
    ),
    "recalls": (
        "the recalls",
        "Recall is the share of a class's images that were recognised, from 0 at the left to 1. The bar is its 95% "
        "interval: the fewer images there are of a class, the wider it is, and the less its recall says.",
    ),
    "abundance": (
        "recall against training images",
        "Each point is a class. If points rise to the right, classes with more training images are recognised better; "
        "that they go together does not show that one causes the other.",
    ),
    "reliability": (
        "the reliability diagram",
        "Images are grouped by how sure the network was. A bar shows how many of a group were right; the line, how "
        "sure it was. Where a bar ends below its line the network was surer than it should be, above it, less sure.",
    ),
    "map": (
        "the map",
        "Before it answers, the network turns each image into a list of numbers, its embedding. The map arranges "
        "images on a plane so that those with similar numbers mostly lie next to each other. Nothing else of it has a "
        "meaning.",
    ),
    "maps": (
        "a map of an image",
        "A map colours the places that counted most for a class, yellow the most and violet the least, often coarsely. "
        "It shows where the network looked and not why; that it looked at the right place does not make its reason "
        "right.",
    ),
    "network": (
        "this table",
        "A network is a chain of stages. Parameters are the numbers that training sets; MACs are multiplications, "
        "each with an addition, for one image. The bars are a stage's share of each.",
    ),
    "class parts": (
        "the bars",
        "The longer a bar, the more images there are of a class. Its colours are the parts: training images are "
        "learnt from, validation images choose the best epoch, test images are scored once at the end.",
    ),
    # prepared data
    "mean colours": (
        "the stripe",
        "Each slice is a class: as wide as its number of images, in the mean colour of its pixels. Classes of very "
        "different colours can be told apart by colour alone, which a network may do too.",
    ),
    "samples": (
        "the samples",
        "Images drawn at random, made square and scaled as the network gets them. What cannot be seen here, the "
        "network cannot see either.",
    ),
    "sizes": (
        "the sizes",
        "Width against height of all files, in pixels. Small images have to be enlarged, which adds no detail; large "
        "ones lose detail when they are reduced.",
    ),
    "aspects": (
        "the shapes",
        "Width divided by height: 1 is a square, less is upright, more is wide. The further an image is from a "
        "square, the more of it is squashed, cropped or padded.",
    ),
    "losses of runs": (
        "the losses",
        "The loss measures how wrong a network's probabilities are on the validation images, which it does not learn "
        "from, after each pass over the training images; lower is better. A line that rises again shows that the "
        "network learns its training images by heart.",
    ),
    "accuracies of runs": (
        "the accuracies",
        "The mean over the classes of the share of validation images recognised, after each pass over the training "
        "images. Lines that cross again and again differ by less than a training repeated from other random numbers "
        "would.",
    ),
    # several runs
    "differences": (
        "the differences",
        "Each dot is how much a figure differs from the first run's, on the same images; the bar is its 95% interval. "
        "One that stays on one side of the line is evidence of a difference between these two trainings, which other "
        "random numbers may undo: a study repeats them.",
    ),
    "recalls of runs": (
        "the recalls",
        "Recall is the share of a class's images that a run recognised, from 0 at the left to 1; each run has a dot. "
        "Of classes with few images, a single one moves a dot far.",
    ),
    "run works": (
        "these works",
        "Images that one of the two runs has right and the other wrong, the surest answers first. The coloured maps "
        "show where each looked, coarsely: yellow counted most.",
    ),
    # a bench
    "bench pareto": (
        "time against size",
        "Each point is one network: lower is faster, to the left it has less to compute or to store. On the dotted "
        "line time grows as that does, from the baseline: a network above it is slower than its size suggests. Those "
        "on the joined line are beaten by none in both (the Pareto front). Bars are quartiles of the rounds.",
    ),
    "stages": (
        "the time of each stage",
        "A network is a chain of stages from stem to head. The bars divide the time of one batch among them, with "
        "each operator timed by itself; together they may take longer than the network, whose operators overlap and "
        "are fused.",
    ),
    "roofline": (
        "the roofline",
        "The device has two limits: how many bytes it moves and how many multiplications it does in a second, the "
        "sloped and the level line. A point is a kind of operator, larger the more time it takes: how many "
        "multiplications it does for each byte, and how fast. Near the line the device does all it can; far below, "
        "the operator's code or its size is the cause; above it, the limits were measured too low, as on a busy "
        "machine. Operators without multiplications, such as activations, are not here but in the table.",
    ),
}
"""By the name that templates give: the figure, as a screen reader has it, and its explanation in plain English."""
