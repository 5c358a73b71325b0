"""The transfer: logits ``W phi((f - mean) / std) + b`` with what scikit-learn fitted."""

import torch
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.heads import with_head
from advtransfer.types import Fitted

# Without a random state, liblinear is seeded from numpy's global one; in the primal it draws nothing.
CLASSIFIERS = {
    "logistic": lambda: LogisticRegression(max_iter=1000),
    "ridge": RidgeClassifier,
    "svm": lambda: LinearSVC(dual=False, random_state=0),
}


class SklearnModel(nn.Module):
    """Adapter, frozen source, standardization, random Fourier features or none, and a linear layer."""

    def __init__(self, adapter, headed, components):
        super().__init__()
        self.adapter, self.source = adapter, headed.network
        features, outputs = headed.head.in_features, headed.head.out_features
        shapes = {"mean": features, "std": features, "bias": outputs}
        shapes["weight"] = (outputs, components or features)
        if components:
            shapes |= {"frequencies": (features, components), "offsets": components}
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.components = components

    def features(self, images):
        """Return the source's features ``(B, F)`` of target images."""
        return self.source.features(self.adapter(images)).flatten(1)

    def forward(self, images):
        rows = (self.features(images) - self.mean) / self.std
        if self.components:
            phases = rows @ self.frequencies + self.offsets
            rows = (2 / self.components) ** 0.5 * phases.cos()
        return rows @ self.weight.T + self.bias


class SklearnHead:
    """A transfer method."""

    def __init__(self, classifier, kernel, components):
        self.classifier = classifier
        self.components = components if kernel == "rbf" else 0

    def model(self, *, source, adapter, target):
        headed = with_head(source, target.outputs, shape=target.shape, adapter=adapter)
        return SklearnModel(adapter or nn.Identity(), headed, self.components).eval()

    def fit(self, model, *, source, adapter, train, validation, context):
        positions = torch.arange(len(train))
        labels = train.labels(positions).numpy()
        if len(set(labels)) < train.card.outputs:
            raise Inapplicable(f"{len(set(labels))} of {train.card.outputs} classes have an image")
        with torch.no_grad():
            rows = model.features(train.inputs(positions).to(context.device)).cpu().double().numpy()
        scaler = StandardScaler().fit(rows)
        rows = scaler.transform(rows)
        state = {"mean": scaler.mean_, "std": scaler.scale_}
        if self.components:
            seed = int(context.numpy("fourier").integers(2**31))
            gamma = 1 / rows.shape[1]
            sampler = RBFSampler(gamma=gamma, n_components=self.components, random_state=seed)
            rows = sampler.fit_transform(rows)
            state |= {"frequencies": sampler.random_weights_, "offsets": sampler.random_offset_}
        fitted = CLASSIFIERS[self.classifier]().fit(rows, labels)
        weight, bias = torch.as_tensor(fitted.coef_), torch.as_tensor(fitted.intercept_)
        if len(weight) == 1:  # two classes: one decision value, above 0 for the second
            weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
        for name, values in (state | {"weight": weight, "bias": bias}).items():
            getattr(model, name).copy_(torch.as_tensor(values))
        return Fitted(facts={"train_accuracy": float(fitted.score(rows, labels))})
