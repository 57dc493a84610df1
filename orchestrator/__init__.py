"""Many trials: plan, order, Ray, ledger, MLflow. Knows no network and never imports torch."""
